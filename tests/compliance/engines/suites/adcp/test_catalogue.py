"""The package's storyboards as suites."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compliance.engines import engine_health, get_engine
from compliance.engines.process.node_runtime import node
from compliance.engines.suites.adcp.catalog import CatalogueUnreadable, Part, part_of, read_catalogue
from tests.compliance.engines.suites.adcp.agents import SDK

pytestmark = pytest.mark.processes

SUITES = {suite.slug: suite for suite in get_engine("adcp").suites()}


def test_the_engine_is_there_and_names_what_it_runs() -> None:
    health = engine_health("adcp")
    assert health.available
    assert health.runtime.keys() == {"node", "@adcp/sdk"}
    assert get_engine("adcp").version == f"1.0+{health.runtime['@adcp/sdk']}"
    assert get_engine("adcp").memory_mb > 0


def test_every_bundle_and_storyboard_of_the_package_is_a_suite() -> None:
    catalogue = read_catalogue(node(), SDK)
    kinds = {bundle["kind"] for bundle in catalogue["bundles"]}
    assert kinds == {"universal", "protocol", "specialism"}
    for bundle in catalogue["bundles"]:
        suite = SUITES[f"adcp-{bundle['kind']}-{bundle['id']}"]
        keys = {f"{one['id']}/{phase['id']}" for one in bundle["storyboards"] for phase in one["phases"]}
        assert set(suite.scenario_keys()) == keys  # R12
        assert keys <= set(SUITES["adcp"].scenario_keys())


def test_only_the_whole_assessment_can_move_a_status() -> None:  # R10
    assert [slug for slug, suite in SUITES.items() if suite.full] == ["adcp"]


def test_suites_say_which_tools_they_need_and_that_they_change_things() -> None:
    assert SUITES["adcp-specialism-sales-guaranteed"].requires["any_of_tools"] == ["get_products", "create_media_buy"]
    assert all("sandbox" in suite.description for suite in SUITES.values())


def test_slugs_are_slugs_and_scenario_keys_are_unique() -> None:
    for slug, suite in SUITES.items():
        assert re.fullmatch(r"[a-z0-9-]{1,100}", slug)
        assert len(set(suite.scenario_keys())) == len(suite.scenario_keys())


@pytest.mark.parametrize(
    ("slug", "part"),
    [
        ("adcp", Part()),
        ("adcp-protocol-media-buy", Part(bundle="media-buy")),
        ("adcp-storyboard-media-buy-seller-refine-products", Part(storyboard="media-buy-seller-refine-products")),
    ],
)
def test_a_slug_names_its_part(slug: str, part: Part) -> None:
    assert part_of(slug) == part


@pytest.mark.parametrize("slug", ["baseline", "adcp-", "adcp-protocol-", "adcp-other-thing"])
def test_another_slug_names_none(slug: str) -> None:
    with pytest.raises(LookupError):
        part_of(slug)


NOBODY = Path("/nonexistent/node")  # who asks it learns nothing


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Path], dict[str, Any]]:
    """Reads the catalogue of a package that carries one bundle, as a process would that has not read it yet."""
    library = tmp_path / "dist" / "lib" / "testing" / "storyboard"
    library.mkdir(parents=True)
    (tmp_path / "package.json").write_text('{"version": "1.0.0"}')
    (library / "compliance.js").write_text("""
        exports.loadComplianceIndex = () => ({ adcp_version: "3", specialisms: [], protocols: [] });
        exports.listBundles = () => [{ kind: "universal", id: "one" }];
        exports.loadBundleStoryboards = () => [{ id: "one", title: "One", phases: [] }];
    """)

    def read(node: Path) -> dict[str, Any]:
        return read_catalogue.__wrapped__(node, tmp_path)

    return read


def test_the_package_is_asked_once_and_not_by_each_process(look: Any) -> None:
    assert look(node()) == look(NOBODY)
    assert look(NOBODY)["bundles"][0]["id"] == "one"


def test_another_version_of_the_package_is_asked_anew(look: Any, tmp_path: Path) -> None:
    look(node())
    (tmp_path / "package.json").write_text('{"version": "1.0.1"}')
    with pytest.raises(CatalogueUnreadable):
        look(NOBODY)
    assert look(node()) == look(NOBODY)


@pytest.mark.parametrize("kept", ["", "[]", "null", '{"key": 1}', "{"])
def test_what_is_kept_and_broken_is_asked_for_again_and_mended(look: Any, tmp_path: Path, kept: str) -> None:
    (tmp_path / ".assay-storyboards.json").write_text(kept)
    assert look(node()) == look(NOBODY)


def test_where_nothing_can_be_kept_the_package_is_asked_and_nothing_is_left(look: Any, tmp_path: Path) -> None:
    (tmp_path / ".assay-storyboards.json").mkdir()  # in the way, also of who may write everywhere
    before = os.listdir(tmp_path)
    assert json.dumps(look(node()))
    assert os.listdir(tmp_path) == before
    with pytest.raises(CatalogueUnreadable):
        look(NOBODY)
