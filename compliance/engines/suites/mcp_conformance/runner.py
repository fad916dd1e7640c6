"""The official runner as a process of its own, behind the egress proxy, and what it said."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compliance.engines.contract import Target
from compliance.engines.http.egress import Guard
from compliance.engines.http.exchange import Exchange, Fault, FaultKind
from compliance.engines.http.proxy import ProxyLimits, egress_proxy
from compliance.engines.process.node_runtime import node, package
from compliance.engines.process.runner import ProcessLimits, SupervisorLost, run_process, scratch_folder

PACKAGE = "@modelcontextprotocol/conformance"
MEMORY_MB = 512
DRIVER = Path(__file__).with_name("driver.mjs")
_MARGIN = 30.0  # seconds
_STATUSES = {"SUCCESS", "FAILURE", "WARNING", "INFO", "SKIPPED"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scenario gave: the checks as the runner wrote them, and the exchanges behind them."""

    checks: tuple[dict[str, Any], ...]
    exchanges: tuple[Exchange, ...]
    ms: int
    left_out: int = 0  # checks over the number that is kept


@dataclass(slots=True)
class RunnerOutput:
    """Everything that came of one start of the runner."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    truncated: bool = False
    harness_error: str = ""  # without anything that the agent sent
    peak_mb: int = 0
    refused: list[str] = field(default_factory=list)  # addresses that the agent led to and that are off limits


class _Broken(Exception):
    """The driver wrote something that it never should; the message says what."""


def _order(target: Target, scenarios: Sequence[str], folder: Path) -> bytes:
    """What the driver is told, on standard input: an argument could be read by every user of the machine (V1)."""
    limits, held = target.limits, target.credential
    return json.dumps(
        {
            "runner": str(package(PACKAGE).path / "dist" / "index.js"),
            "url": target.url,
            "scenarios": list(scenarios),
            "credential": {"header": held.header, "value": held.value} if held else None,
            "folder": str(folder / "results"),
            "payload_bytes": limits.evidence_bytes,
            "response_bytes": limits.response_bytes,
            "run_bytes": limits.run_bytes,
            "redirects": limits.redirects,
        }
    ).encode()


async def run_scenarios(
    target: Target,
    scenarios: Sequence[str],
    *,
    guard: Guard,
    seconds: float,
    on_start: Callable[[str, int], None],
    memory_mb: int,
    driver: Path,
) -> RunnerOutput:
    """Run the named scenarios in one process. on_start: the scenario at hand, and how many are done.

    Raises RuntimeMissing when Node or the package is not installed. All else is in what it returns.
    """
    output, ended = RunnerOutput(), False

    def hear(line: bytes) -> None:
        nonlocal ended
        try:
            event = json.loads(line)
            if event["event"] == "start":
                on_start(str(event["scenario"]), len(output.outcomes))
            elif event["event"] == "scenario":
                output.outcomes[str(event["scenario"])] = _outcome(event)
            elif event["event"] == "broken":
                where = f" in {event['scenario']}" if event["scenario"] else ""
                output.harness_error = f"The official runner broke{where}: {str(event['reason'])[:150]}"
            elif event["event"] == "end":
                ended = True
            else:
                raise _Broken("an event of no known kind")
        except (ValueError, KeyError, TypeError, AttributeError, _Broken) as error:
            output.harness_error = f"The official runner's output could not be read ({type(error).__name__})"

    argv = [str(node()), f"--max-old-space-size={memory_mb // 2}", str(driver)]
    limits = ProcessLimits(seconds=max(seconds, 0.1), memory_mb=memory_mb)
    with scratch_folder() as folder:
        order = _order(target, scenarios, folder)
        # The process ends first: a proxy that left before it would look like an agent that does not answer.
        network = ProxyLimits(seconds=limits.seconds + _MARGIN)
        async with egress_proxy(guard, run_key=target.run_key, limits=network) as proxy:
            try:
                finished = await run_process(
                    argv, limits=limits, env=proxy.environment(), folder=folder, stdin=order, on_line=hear
                )
            except (OSError, SupervisorLost) as error:
                output.harness_error = f"The official runner could not be run ({type(error).__name__})"
                return output
            output.refused = list(proxy.refused)
            exhausted = proxy.exhausted
    output.peak_mb = finished.peak_mb
    if finished.stopped == "deadline":
        output.truncated = True
    elif finished.stopped:
        output.harness_error = f"The official runner was stopped: it passed its limit of {finished.stopped}"
    elif exhausted:
        output.harness_error = f"The run used more of the network than it may: {exhausted}"
    elif not output.harness_error and not ended:
        output.harness_error = f"The official runner ended before its work was done (exit {finished.returncode})"
    return output


def _outcome(event: dict[str, Any]) -> Outcome:
    checks = event["checks"]
    for check in checks:
        if not isinstance(check["id"], str) or check["status"] not in _STATUSES:
            raise _Broken("a check without id or status")
    return Outcome(
        tuple(checks), tuple(_exchange(e) for e in event["exchanges"]), int(event["ms"]), int(event["left_out"])
    )


def _headers(pairs: Any) -> list[tuple[bytes, bytes]]:
    return [(str(k).encode("latin-1", "replace"), str(v).encode("latin-1", "replace")) for k, v in pairs or ()]


def _exchange(output: dict[str, Any]) -> Exchange:
    fault = output.get("fault")
    try:
        body = base64.b64decode(output.get("response_body") or "", validate=True)
    except binascii.Error as error:
        raise _Broken("a payload that is no base64") from error
    return Exchange(
        method=str(output["method"]),
        url=str(output["url"]),
        request_headers=_headers(output["request_headers"]),
        request_body=str(output["request_body"]).encode("utf-8", "replace"),
        status=int(output.get("status") or 0),
        headers=_headers(output.get("headers")),
        body=bytearray(body),
        size=whole if (whole := int(output.get("size") or 0)) > len(body) else 0,
        fault=Fault(FaultKind.CLOSED, str(fault)) if fault else None,
        seconds=int(output.get("ms") or 0) / 1000,
    )
