"""Runs one after another against a seller that keeps idempotency keys, as the specification wants it."""

from __future__ import annotations

import json
from typing import Any

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

    def __init__(self) -> None:
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
        return answered if known == asked else {"errors": [CONFLICT], "adcp_error": CONFLICT}


async def test_a_key_that_the_storyboards_repeat_is_no_fault_of_the_seller_that_knows_it() -> None:  # E6
    seller = KeepingSeller()
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
