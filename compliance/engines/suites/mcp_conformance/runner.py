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
from compliance.engines.process.node_runtime import node, package
from compliance.engines.process.runner import scratch_folder
from compliance.engines.suites.official import ProgramOutput

PACKAGE = "@modelcontextprotocol/conformance"
MEMORY_MB = 512
DRIVER = Path(__file__).with_name("driver.mjs")
_STATUSES = {"SUCCESS", "FAILURE", "WARNING", "INFO", "SKIPPED"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scenario gave: the checks as the runner wrote them, and the exchanges behind them."""

    checks: tuple[dict[str, Any], ...]
    exchanges: tuple[Exchange, ...]
    ms: int
    left_out: int = 0  # checks over the number that is kept


@dataclass(slots=True)
class RunnerOutput(ProgramOutput):
    """Everything that came of one start of the runner."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)


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
    output = RunnerOutput()

    def hear(line: bytes) -> None:
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
                output.ended = True
            else:
                raise _Broken("an event of no known kind")
        except (ValueError, KeyError, TypeError, AttributeError, _Broken) as error:
            output.harness_error = f"The official runner's output could not be read ({type(error).__name__})"

    argv = [str(node()), f"--max-old-space-size={memory_mb // 2}", str(driver)]
    with scratch_folder() as folder:
        await output.run(
            argv,
            program="The official runner",
            target=target,
            guard=guard,
            seconds=seconds,
            memory_mb=memory_mb,
            folder=folder,
            on_line=hear,
            stdin=_order(target, scenarios, folder),
        )
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
