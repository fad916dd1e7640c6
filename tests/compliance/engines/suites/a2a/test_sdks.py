"""Agents on each version of the official SDK for Python are in good order, whichever version they speak."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compliance.engines import Overall
from tests.compliance.engines.servers import check
from tests.processes import ROOT, Process, free_port

pytestmark = pytest.mark.processes

# The environment that scripts/install makes, and the version of the protocol that its a2a-sdk speaks.
SDKS = [("agents-older", "0.2.6"), ("agents-newer", "0.3.0"), ("agents", "1.0"), ("", "1.0")]


@pytest.mark.parametrize(("environment", "version"), SDKS)
async def test_an_agent_on_the_official_sdk_passes(tmp_path: Path, environment: str, version: str) -> None:  # E6, E8
    port = free_port()
    python = Path(sys.prefix) / environment / "bin" / "python"
    process = Process(str(python), str(ROOT / "tests/agents/a2a_server.py"), str(port), log=tmp_path / "log")
    try:
        process.says("Uvicorn running", seconds=60)
        for _ in range(2):
            report = await check(f"http://127.0.0.1:{port}/", protocol="a2a", options={"allow_side_effects": True})
            assert report.overall() is Overall.PASSING, report.headline()
            assert report.protocol_version == version
            assert report.observations["agent_name"] == "Greeter"
    finally:
        process.stop()
