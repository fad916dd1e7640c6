"""Official test programs: one process behind the egress proxy, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compliance.engines.contract import Target
from compliance.engines.http.egress import Guard
from compliance.engines.http.proxy import ProxyLimits, egress_proxy
from compliance.engines.process.runner import ProcessLimits, SupervisorLost, run_process
from compliance.engines.reports.builder import ReportBuilder

_MARGIN = 30.0  # seconds that the proxy lives on after the program's own time


@dataclass(slots=True)
class ProgramOutput:
    """What came of one start of a program."""

    ended: bool = False  # it said that its work is done
    truncated: bool = False
    harness_error: str = ""  # without anything that the agent sent
    peak_mb: int = 0
    refused: list[str] = field(default_factory=list)  # addresses that the agent led to and that are off limits

    async def run(
        self,
        argv: Sequence[str],
        *,
        program: str,
        target: Target,
        guard: Guard,
        seconds: float,
        memory_mb: int,
        folder: Path,
        on_line: Callable[[bytes], None],
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> None:
        """Run the program to its end or to a limit; program: what people call it. Never raises for what it does."""
        limits = ProcessLimits(seconds=max(seconds, 0.1), memory_mb=memory_mb)
        # The process ends first: a proxy that left before it would look like an agent that does not answer.
        network = ProxyLimits(seconds=limits.seconds + _MARGIN)
        async with egress_proxy(guard, run_key=target.run_key, limits=network) as proxy:
            variables = proxy.environment() | dict(env or {})
            try:
                finished = await run_process(
                    argv, limits=limits, env=variables, folder=folder, stdin=stdin, on_line=on_line
                )
            except (OSError, SupervisorLost) as error:
                self.harness_error = f"{program} could not be run ({type(error).__name__})"
                return
            self.refused, exhausted = list(proxy.refused), proxy.exhausted
        self.peak_mb = finished.peak_mb
        if finished.stopped == "deadline":
            self.truncated = True
        elif finished.stopped:
            self.harness_error = f"{program} was stopped: it passed its limit of {finished.stopped}"
        elif exhausted:
            self.harness_error = f"The run used more of the network than it may: {exhausted}"
        elif not self.harness_error and not self.ended:
            self.harness_error = f"{program} ended before its work was done (exit {finished.returncode})"

    def note_on(self, run: ReportBuilder) -> None:
        """Put on the report how the program ended, and where the agent led it."""
        run.harness_error = run.harness_error or self.harness_error
        run.truncated = run.truncated or self.truncated
        if self.peak_mb:
            run.observations["memory_mb"] = self.peak_mb
        if self.refused:
            led = run.clean("; ".join(self.refused))
            run.notice("led_astray", f"The agent led to addresses that a test may not use: {led}")
