"""What stands between a test and an agent in good order: rate limits, and walls against programs (E1, E3)."""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime

from compliance.engines.http.exchange import Exchange

_MITIGATED = {
    "cf-mitigated": ("challenge",),  # Cloudflare
    "x-vercel-mitigated": ("challenge", "deny"),
    "x-amzn-waf-action": ("challenge", "captcha"),  # AWS WAF, with status 202 or 405
}
# Cloudflare's challenge itself: its script for detecting bots is in ordinary pages too.
_CHALLENGES = (b"<title>just a moment", b"_cf_chl_opt", b"orchestrate/chl_page")
_CHALLENGE_STATUSES = (403, 429, 503)
# What other pages say that want a browser to run their script, or a person to solve a riddle.
_WALL_WORDS = (
    *(b"<title>attention required! | cloudflare", b"_incapsula_resource", b"<title>vercel security checkpoint"),
    *(b"captcha-delivery.com", b"px-captcha"),
)
_LOOKED_AT = 65536  # bytes of a page


def is_wall(exchange: Exchange) -> bool:
    """Whether something in front of the agent answered, that lets no program pass."""
    for name, values in _MITIGATED.items():
        if exchange.header(name).strip().lower() in values:
            return True
    if exchange.status < 400 or exchange.media_type != "text/html":
        return False
    page = bytes(exchange.body[:_LOOKED_AT]).lower()
    if exchange.status in _CHALLENGE_STATUSES and any(words in page for words in _CHALLENGES):
        return True
    return any(words in page for words in _WALL_WORDS)


def retry_after(exchange: Exchange, attempt: int) -> float | None:
    """How many seconds to wait before asking again; None when the answer is no "not now".

    attempt: the first is 0. Who gives no time is asked again after one second, then two, then four.
    """
    text = exchange.header("retry-after").strip()
    if exchange.status != 429 and not (exchange.status == 503 and text):
        return None
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 2.0**attempt
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return max((at - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)


def limited_words(exchange: Exchange, seconds: float) -> str:
    what = "limits how often it is asked" if exchange.status == 429 else "is not available for now"
    return f"the agent {what} (HTTP {exchange.status}), and asks to come back in {seconds:,.0f} s"


def wall_words(exchange: Exchange) -> str:
    return f"a bot wall lets no program pass (HTTP {exchange.status})"
