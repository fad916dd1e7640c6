"""Runs one after another against a seller that keeps idempotency keys, as the specification wants it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compliance.engines import Overall
from compliance.engines.reports.model import Verdict
from tests.compliance.engines.servers import serving, step
from tests.compliance.engines.suites.adcp.agents import CAPABILITIES, Scripted, check

PRODUCT = {
    "product_id": "banner",
    "name": "Banner",
    "description": "A banner on the front page",
    "publisher_properties": [{"publisher_domain": "example.com", "selection_type": "all"}],
    "channels": ["display"],
    "format_ids": [{"agent_url": "https://example.com", "id": "display_static", "width": 300, "height": 250}],
    "delivery_type": "non_guaranteed",
    "pricing_options": [{"pricing_option_id": "cpm", "pricing_model": "cpm", "fixed_price": 5.0, "currency": "EUR"}],
    "reporting_capabilities": {
        "available_reporting_frequencies": ["daily"],
        "expected_delay_minutes": 60,
        "timezone": "UTC",
        "supports_webhooks": False,
        "available_metrics": ["impressions"],
        "date_range_support": "date_range",
    },
}
STORYBOARD = "media_buy_seller/pending_creatives_to_start"
PHASES = [f"{STORYBOARD}/create_without_creatives"]
CONFLICT = {
    "code": "IDEMPOTENCY_CONFLICT",
    "message": "Another request had this key",
    "recovery": "correctable",
}


class KeepingSeller(Scripted):
    """Answers a key that it knows with what it answered before, and refuses it with another request."""

    def __init__(self, refusal: dict[str, Any], *, is_error: bool = False, forgets: bool = False) -> None:
        self.refusal, self.is_error = refusal, is_error
        self.forgets = forgets  # refuses a key that it never saw, too
        self.kept: dict[str, tuple[str, dict[str, Any]]] = {}
        super().__init__(
            get_adcp_capabilities=lambda arguments, headers: CAPABILITIES | {"supported_protocols": ["media_buy"]},
            get_products=lambda arguments, headers: {"products": [PRODUCT]},
            create_media_buy=self.create,
            sync_creatives=lambda arguments, headers: {"creatives": []},
            get_media_buys=lambda arguments, headers: {"media_buys": []},
        )

    def create(self, arguments: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        key = arguments["idempotency_key"]
        asked = json.dumps({name: value for name, value in arguments.items() if name != "context"}, sort_keys=True)
        buy = {
            "media_buy_id": f"buy-{len(self.kept)}",
            "status": "pending_creatives",
            "confirmed_at": "2026-01-01T00:00:00Z",
            "revision": 1,
            "packages": [{"package_id": f"package-{len(self.kept)}"}],
        }
        known, answered = self.kept.setdefault(key, (asked, buy))
        return self.refusal if self.forgets or known != asked else answered

    async def result(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> Any:
        result = await super().result(method, params, headers)
        refuses = self.is_error and "IDEMPOTENCY_CONFLICT" in json.dumps(result)
        return result | {"isError": True} if refuses else result


@pytest.mark.parametrize(
    ("refusal", "is_error"),
    [({"errors": [CONFLICT], "adcp_error": CONFLICT}, False), ({"adcp_error": CONFLICT}, True),
     ({"errors": [CONFLICT]}, False)],
    ids=["both", "adcp_error", "errors"],
)  # fmt: skip
async def test_a_key_that_the_storyboards_repeat_is_no_fault_of_the_seller_that_knows_it(  # E6
    refusal: dict[str, Any], is_error: bool
) -> None:
    seller = KeepingSeller(refusal, is_error=is_error)
    async with serving(seller) as url:
        first = await check(f"{url}/mcp", options={"scenarios": PHASES})
        again = await check(f"{url}/mcp", options={"scenarios": PHASES})

    created = step(first, PHASES[0], "create_buy_no_creatives")
    assert created.verdict == "passed", created.actual
    repeated = step(again, PHASES[0], "create_buy_no_creatives")
    assert repeated.verdict is Verdict.NOT_TESTED
    assert "idempotency key" in repeated.actual
    needing = step(again, f"{STORYBOARD}/supply_creatives", "sync_creative")
    assert needing.verdict is Verdict.SKIPPED
    assert needing.actual == "An earlier step, which this needs, could not be repeated"
    failures = [{each.key for _, _, each in report.steps() if each.verdict == "failed"} for report in (first, again)]
    assert failures[1] <= failures[0]
    assert again.overall() in (first.overall(), Overall.PASSING)
    left_out = [step for *_, step in again.steps() if "idempotency key" in step.actual or "be repeated" in step.actual]
    assert not [notice for notice in first.notices if notice.code == "spent_keys"]
    (notice,) = [notice for notice in again.notices if notice.code == "spent_keys"]
    assert notice.message.startswith(f"{len(left_out)} steps were left out")


@pytest.mark.parametrize("is_error", [False, True])
async def test_a_conflict_that_is_only_in_the_words_of_an_error_excuses_nothing(is_error: bool) -> None:  # E6
    error = {"code": "INVALID_REQUEST", "message": "Not IDEMPOTENCY_CONFLICT: it does not work", "recovery": "terminal"}
    seller = KeepingSeller({"errors": [error], "adcp_error": error}, is_error=is_error, forgets=True)
    async with serving(seller) as url:
        report = await check(f"{url}/mcp", options={"scenarios": PHASES})

    assert step(report, PHASES[0], "create_buy_no_creatives").verdict is Verdict.FAILED
    assert report.overall() is Overall.PARTIAL
    assert not [notice for notice in report.notices if notice.code == "spent_keys"]
