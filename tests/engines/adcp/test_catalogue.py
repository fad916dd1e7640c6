"""The package's storyboards as suites."""

from __future__ import annotations

import re

import pytest

from compliance.engines import engine_health, get_engine
from compliance.engines.adcp.catalogue import Part, part_of, read_catalogue
from compliance.engines.node_runtime import node

from .agents import SDK

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
