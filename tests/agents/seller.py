"""A small AdCP seller made with the server classes of the PyPI package adcp. Argument 1 is its port on the loopback.

It runs in an environment of its own (requirements.txt beside this file) and imports nothing of Assay.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

gc.disable()  # importing the package makes its thousands of types: 9 s of processor time, and 12 with the collector
from adcp.server import ADCPHandler, serve  # noqa: E402
from adcp.server.responses import capabilities_response  # noqa: E402

gc.enable()

PRODUCT = {
    "product_id": "banner",
    "name": "Banner",
    "description": "A banner on the front page",
    "publisher_properties": [{"publisher_domain": "example.com", "selection_type": "all"}],
    "channels": ["display"],
    "format_ids": [{"agent_url": "https://example.com", "id": "display_static", "width": 300, "height": 250}],
    "delivery_type": "non_guaranteed",
    "pricing_options": [
        {"pricing_option_id": "cpm", "pricing_model": "cpm", "fixed_price": 5.0, "currency": "EUR"},
    ],
    "reporting_capabilities": {
        "available_reporting_frequencies": ["daily"],
        "expected_delay_minutes": 60,
        "timezone": "UTC",
        "supports_webhooks": False,
        "available_metrics": ["impressions"],
        "date_range_support": "date_range",
    },
}


class Seller(ADCPHandler):
    advertised_tools = {"get_adcp_capabilities", "get_products"}

    async def get_adcp_capabilities(self, params: Any, context: Any = None) -> Any:
        return capabilities_response(["media_buy"], idempotency={"supported": False})

    async def get_products(self, params: Any, context: Any = None) -> Any:
        return {"products": [PRODUCT]}


if __name__ == "__main__":
    serve(Seller(), name="seller-in-python", host="127.0.0.1", port=int(sys.argv[1]))
