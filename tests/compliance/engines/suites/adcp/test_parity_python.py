"""A server that the protocol's own Python package makes, in a file of its own: it takes long to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.engines import Overall
from tests.compliance.engines.suites.adcp.agents import python_seller
from tests.compliance.engines.suites.adcp.parity import both, compare

pytestmark = pytest.mark.processes


@pytest.mark.timeout(240)
async def test_a_seller_on_the_python_packages_server_gets_what_the_official_command_prints(  # E11, R6, R12
    tmp_path: Path,
) -> None:
    with python_seller(tmp_path) as url:
        report, printed, summary, _ = await both(url, url, tmp_path)

    assert min(summary["passed"], summary["failed"], summary["skipped"]) > 15
    compare(report, printed, summary)
    assert report.full
    assert report.overall() is Overall.PARTIAL
    assert report.observations["server_name"] == "seller-in-python"
    assert report.observations["tool_names"] == "get_adcp_capabilities, get_products"
