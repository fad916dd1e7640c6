"""The engine of the official A2A compatibility kit, where the operator has set it up."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace

import httpx2

from compliance.engines.catalog import CONNECTIVITY, OptionSpec, ScenarioSpec, SuiteSpec, TrackSpec
from compliance.engines.contract import Health, OnStep, Progress, Target
from compliance.engines.execution.session import run_session
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard, Resolve, system_resolve
from compliance.engines.reports.builder import ReportBuilder
from compliance.engines.reports.model import Report, Scenario, Step, Track, Verdict
from compliance.engines.suites.a2a.agent_checks import requires_credentials
from compliance.engines.suites.a2a.catalog import SPEC_VERSION
from compliance.engines.suites.a2a.opening import reach_card
from compliance.engines.suites.a2a.session import SECURITY
from compliance.engines.suites.a2a.tck_kit import MEMORY_MB, NAME, KitMissing, Result, RunnerOutput, find_kit, run_kit

_ADAPTER = "1.0"
_FOLDERS = {
    "agent_card": "Agent card",
    "core_operations": "Core operations",
    "jsonrpc": "JSON-RPC",
    "http_json": "HTTP+JSON",
}
_HARMLESS = "agent_card"

TCK = SuiteSpec(
    slug=NAME,
    version="1",
    title="A2A compatibility kit",
    description=(
        "The tests of the official kit (a2a-tck), as the operator's checkout has them. Many of them expect an agent "
        "that was made for them, which answers messages with certain identifiers in a certain way."
    ),
    engine=NAME,
    protocols=("a2a",),
    tracks=tuple(
        TrackSpec(key, title, (ScenarioSpec(f"tck/{key}", title, (), "a2a"),)) for key, title in _FOLDERS.items()
    ),
    options=(
        OptionSpec(
            "allow_side_effects",
            "Allow side effects",
            False,
            "Runs all of the kit's tests. Without it only those of the agent card are run: the others send messages.",
        ),
    ),
    # An agent that was not made for the kit breaks no rule by failing it.
    full=False,
)
_OPENING = replace(
    TCK, tracks=(CONNECTIVITY, TrackSpec("security", "Security", (replace(SECURITY, steps=SECURITY.steps[1:3]),)))
)


class TckEngine:
    name = NAME

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve = system_resolve,
        memory_mb: int = MEMORY_MB,
    ) -> None:
        self.memory_mb = memory_mb
        self._ssl_context = ssl_context
        self._resolve = resolve

    @property
    def version(self) -> str:
        try:
            return f"{_ADAPTER}+{find_kit().version}"
        except KitMissing:
            return _ADAPTER

    def suites(self) -> tuple[SuiteSpec, ...]:
        return (TCK,) if self.health().available else ()

    def health(self) -> Health:
        try:
            return Health(True, runtime={"a2a-tck": find_kit().version})
        except KitMissing as missing:
            return Health(False, str(missing))

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        guard = Guard(target.allow, self._resolve, run_key=target.run_key)
        output = RunnerOutput()
        async with HttpClient.for_target(target, guard, self._ssl_context) as http:
            run = ReportBuilder(target, http, "a2a", None, suite=_OPENING)

            def on_test(test: str, done: int, total: int) -> None:
                if on_step is not None:
                    on_step(Progress(run.clean(_title(test)), done, max(total, done)))

            async def converse() -> None:
                nonlocal output
                if (base_url := await _open(run)) is None:
                    return
                output = await run_kit(
                    kit,
                    target,
                    base_url=base_url,
                    everything=bool(run.option("allow_side_effects")),
                    guard=guard,
                    seconds=http.remaining,
                    on_test=on_test,
                    memory_mb=self.memory_mb,
                )

            try:
                kit = find_kit()
            except KitMissing as missing:
                run.harness_error = str(missing)
            else:
                await run_session(run, converse(), self.name)
            output.note_on(run)
            _note_advice(run, output)
            runtime = self.health().runtime
            report = run.report(self.name, self.version, spec_version=SPEC_VERSION, runtime=runtime, full=TCK.full)
        return replace(report, tracks=(*report.tracks, *_tracks(run, output)))


async def _open(run: ReportBuilder) -> str | None:
    """Reach the agent over our own HTTP client: the kit would call an agent that is not there one that breaks rules.

    Its base address as the kit wants it; None when there is nothing for the kit to do.
    """
    card = await reach_card(run, "security")
    if card is None:
        return None
    for key in ("unauthorized", "accepted"):
        with run.step("security", key) as step:
            if requires_credentials(card.document):
                step.skipped("The card requires credentials, and the kit has no way to send any")
                run.locked = True
            else:
                step.not_applicable("The agent's card asks for no credentials")
    if run.locked:
        return None
    asked = httpx2.URL(card.exchange.url)
    return str(asked.copy_with(path=card.path.partition("/.well-known/")[0] or "/", query=None)).rstrip("/")


def _title(test: str) -> str:
    """A test's name as a sentence: TestTaskNotFound::test_get_unknown[jsonrpc] is Get unknown (jsonrpc)."""
    name, _, variant = test.rpartition("::")[2].partition("[")
    words = name.removeprefix("test_").replace("_", " ").capitalize()
    return f"{words} ({variant.rstrip(']')})" if variant else words


def _requirement(output: RunnerOutput, result: Result) -> str:
    return output.requirements.get(result.test, "") or result.requirement


def _is_advice(output: RunnerOutput, result: Result) -> bool:
    """Whether the test is of what an agent should or may do: not doing it breaks no rule."""
    return result.expected_failure or _requirement(output, result) in output.advice


def _verdict(run: ReportBuilder, output: RunnerOutput, result: Result) -> tuple[Verdict, str]:
    reason = re.sub(r"^.*?(AssertionError|Error|Exception|Skipped): ", "", result.reason.strip(), flags=re.S)
    said = run.clean(reason)
    if result.outcome == "passed":
        return Verdict.PASSED, "The kit's test passed"
    # Pytest calls skipped what was expected to fail, and did.
    if result.expected_failure or (result.outcome == "failed" and _is_advice(output, result)):
        return Verdict.SILENT, f"Advice that is not followed: {said}"
    if result.outcome == "failed":
        if result.when != "call":
            return Verdict.NOT_TESTED, f"The kit broke before the test could tell: {said}"
        return Verdict.FAILED, said or "The kit's test failed"
    not_declared = re.search(
        r"not configured|not declared|does not (support|declare)|not supported|not available", said
    )
    return (Verdict.NOT_APPLICABLE if not_declared else Verdict.SKIPPED), said or "The kit skipped it"


def _tracks(run: ReportBuilder, output: RunnerOutput) -> list[Track]:
    """One scenario for each of the kit's files, in its order; what it did not come to is not tested."""
    files: dict[str, list[Step]] = {}
    for test in dict.fromkeys([*output.collected, *output.results]):
        result = output.results.get(test)
        file, _, key = test.partition("::")
        verdict, actual = (Verdict.NOT_TESTED, "Not reached") if result is None else _verdict(run, output, result)
        files.setdefault(file.removesuffix(".py"), []).append(
            Step(
                key=key,
                title=run.clean(_title(test)),
                verdict=verdict,
                actual=actual,
                duration_ms=result.ms if result else 0,
                requirement=_requirement(output, result) if result else output.requirements.get(test, ""),
            )
        )
    tracks = []
    for folder, title in _FOLDERS.items():
        scenarios = [
            Scenario(f"tck/{file}", file.rpartition("/")[2].removeprefix("test_").replace("_", " ").capitalize(), steps)
            for file, steps in ((file, tuple(steps)) for file, steps in files.items())
            if file.startswith(f"{folder}/")
        ]
        if not scenarios and output.collected and folder != _HARMLESS:
            skipped = Step("all", f"{title}: all tests of the kit", Verdict.SKIPPED, actual=_WORKS)
            scenarios = [Scenario(f"tck/{folder}", title, (skipped,))]
        if scenarios:
            tracks.append(Track(folder, title, tuple(scenarios)))
    return tracks


_WORKS = "Would set the agent to work, which this suite's options do not allow"


def _note_advice(run: ReportBuilder, output: RunnerOutput) -> None:
    results = output.results.values()
    advised = sum(
        result.outcome != "passed" and _verdict(run, output, result)[0] is Verdict.SILENT for result in results
    )
    if advised:
        run.notice("advice", f"{advised} pieces of the kit's advice are not followed")
