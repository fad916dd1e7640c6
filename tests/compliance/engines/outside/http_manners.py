from compliance.engines import Evidence, Health, Report, Scenario, Step, SuiteSpec, Track, Verdict
from compliance.engines.catalog import ScenarioSpec, StepSpec, TrackSpec
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard
from compliance.engines.http.redaction import Redactor

RULE = StepSpec("404", "What is not there is answered with 404", "Status 404", "https://www.rfc-editor.org/rfc/rfc9110")
TRACKS = (TrackSpec("http", "HTTP", (ScenarioSpec("http/absent", "Absent resources", (RULE,)),)),)
WORDS = {"title": "HTTP manners", "description": "How the agent answers where there is nothing."}


class HttpManners:
    name, version, memory_mb = "http-manners", "0.1.0", 0  # 0: it starts no program beside the worker

    def health(self):
        return Health(True)

    def suites(self):
        return [SuiteSpec("http-manners", "1", engine=self.name, protocols=("mcp", "a2a"), tracks=TRACKS, **WORDS)]

    async def run(self, target, *, on_step=None):
        async with HttpClient(guard=Guard(target.allow), limits=target.limits, deadline=target.deadline) as http:
            exchange = await http.send("GET", target.url.rstrip("/") + "/there-is-nothing-here")
        held = target.credential
        fault, clean = exchange.fault, Redactor(held.hidden if held else (), target.limits.evidence_bytes)
        ours = fault.message if fault and not fault.is_the_agents else ""
        verdict = Verdict.NOT_TESTED if ours else Verdict.PASSED if exchange.status == 404 else Verdict.FAILED
        actual = fault.message if fault else f"Status {exchange.status}"
        seen = Evidence(clean.request(exchange), clean.response(exchange))
        step = Step(RULE.key, RULE.title, verdict, RULE.expected, actual, RULE.spec_url, evidence=seen)
        tracks = (Track("http", "HTTP", (Scenario("http/absent", "Absent resources", (step,)),)),)
        took = int(exchange.seconds * 1000)
        return Report(self.name, self.version, target.suite, target.protocol, "", tracks, took, harness_error=ours)
