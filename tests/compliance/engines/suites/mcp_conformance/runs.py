"""What the tests of the official MCP scenarios share: the official command line, and servers of others."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from compliance.engines import Report, Target, Verdict
from compliance.engines.process.node_runtime import node, package
from compliance.engines.suites.mcp_conformance import ConformanceEngine
from compliance.engines.suites.mcp_conformance.runner import PACKAGE
from tests.compliance.engines.servers import LOCAL, PATIENT

DECLARED, FIXTURE = "mcp-conformance", "mcp-conformance-sdk"


async def conform(url: str, suite: str = DECLARED, *, engine: dict[str, Any] | None = None, **changes: Any) -> Report:
    values: dict[str, Any] = {"protocol": "mcp", "limits": PATIENT, "allow": LOCAL, "deadline": 50.0}
    target = Target(url, suite=suite, **(values | changes))
    return await ConformanceEngine(**(engine or {})).run(target)


def verdicts(report: Report, scenario: str) -> dict[str, Verdict]:
    return {step.key: step.verdict for _, s, step in report.steps() if s.key == scenario}


def codes(report: Report) -> list[str]:
    return [notice.code for notice in report.notices]


def officially(url: str, folder: Path) -> tuple[dict[str, tuple[int, int]], dict[str, list[tuple[str, str]]]]:
    """What the official command line prints of each scenario (passed, failed), and the checks that it writes."""
    runner = package(PACKAGE).path / "dist" / "index.js"
    command = [str(node()), str(runner), "server", "--url", url, "--suite", "all", "-o", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False).stdout
    counts = {
        m[1]: (int(m[2]), int(m[3])) for m in re.finditer(r"^[✓✗] (\S+): (\d+) passed, (\d+) failed$", said, re.M)
    }
    checks = {}
    for name in counts:
        (written,) = folder.glob(f"server-{name}-2*/checks.json")
        checks[name] = [(c["id"], c["status"]) for c in json.loads(written.read_text())]
    return counts, checks
