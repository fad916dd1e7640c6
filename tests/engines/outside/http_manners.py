import time

from compliance.engines import Evidence, Health, Report, Scenario, Step, SuiteSpec, Verdict
from compliance.engines.egress import Guard
from compliance.engines.redact import Redactor
from compliance.engines.report import Track
from compliance.engines.suites import ScenarioSpec, StepSpec, TrackSpec
from compliance.engines.wire import FaultKind, Wire

RULE = StepSpec("404", "What does not exist is answered with 404", "Status 404", "https://httpwg.org/specs/rfc9110.html")
SUITE = SuiteSpec(
    slug="http-manners",
    version="1",
    title="HTTP manners",
    description="How the agent answers for an address at which there is nothing.",
    engine="http-manners",
    protocols=("mcp", "a2a"),
    tracks=(TrackSpec("http", "HTTP", (ScenarioSpec("http/absent", "Absent resources", (RULE,)),)),),
    full=False,  # it says nothing about the agent as a whole
)


class HttpManners:
    name = "http-manners"  # as in the entry point
    version = "0.1.0"
    memory_mb = 0  # it starts no program beside the worker

    def suites(self):
        return [SUITE]

    def health(self):
        return Health(True)

    async def run(self, target, *, on_step=None):
        began, redactor = time.monotonic(), Redactor([target.token], target.limits.evidence_bytes)
        async with Wire(guard=Guard(target.allow), limits=target.limits, deadline=target.deadline) as wire:
            exchange = await wire.send("GET", target.url.rstrip("/") + "/there-is-nothing-here")
        broken = exchange.fault.message if exchange.fault and exchange.fault.kind is FaultKind.OURS else ""
        verdict = Verdict.NOT_TESTED if broken else Verdict.PASSED if exchange.status == 404 else Verdict.FAILED
        seen = Evidence(redactor.request(exchange), redactor.response(exchange))
        actual = exchange.fault.message if exchange.fault else f"Status {exchange.status}"
        step = Step(RULE.key, RULE.title, verdict, RULE.expected, actual, RULE.spec_url, evidence=seen)
        return Report(
            engine=self.name,
            engine_version=self.version,
            suite=target.suite,
            protocol=target.protocol,
            protocol_version="",
            tracks=(Track("http", "HTTP", (Scenario("http/absent", "Absent resources", (step,)),)),),
            duration_ms=int((time.monotonic() - began) * 1000),
            harness_error=broken,
        )
