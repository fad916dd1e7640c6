"""Further examples of the npm package: what Assay stores is what the official command prints, key by key."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.compliance.engines.suites.adcp.agents import SIGNALS_TOKEN, adapter, example
from tests.compliance.engines.suites.adcp.parity import both, compare

pytestmark = pytest.mark.processes

# The file, the platform that it adapts, and whether it wants the package's token. The larger adapters of sellers do
# the same, and take longer than all of these.
EXAMPLES = [
    ("comply-controller-seller", "", False),
    ("seller-test-controller", "", False),
    ("signals-agent", "", False),
    ("hello_seller_adapter_multi_tenant", "", True),
    ("hello_si_adapter_brand", "sponsored-intelligence", True),
    ("hello_creative_adapter_template", "creative-template", True),
]


def started(name: str, platform: str, folder: Path) -> AbstractContextManager[str]:
    folder.mkdir()
    return adapter(name, platform, folder) if platform else example(name, folder, ADCP_SANDBOX="1")


@pytest.mark.parametrize(("name", "platform", "locked"), EXAMPLES)
async def test_an_example_gets_what_the_official_command_prints(  # E11, R6
    tmp_path: Path, name: str, platform: str, locked: bool
) -> None:
    # Each runner meets an agent of its own: what the other one did is not there.
    with started(name, platform, tmp_path / "theirs") as theirs, started(name, platform, tmp_path / "ours") as ours:
        report, printed, summary, _ = await both(theirs, ours, tmp_path, SIGNALS_TOKEN if locked else "")

    assert summary["passed"] > 3
    compare(report, printed, summary)
    assert report.full
    assert not report.locked
