"""What stands between a test and an agent is waited for, or said; it is never held against the agent (E1, E3)."""

from __future__ import annotations

import datetime as dt
import time
from email.utils import format_datetime

import pytest
from starlette.requests import Request
from starlette.responses import Response

from compliance.engines import Limits
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard
from compliance.engines.http.exchange import Exchange, FaultKind
from compliance.engines.http.obstacles import is_wall, retry_after
from tests.compliance.engines.servers import LOCAL, serving, target


def answered(status: int, body: str = "", kind: str = "text/plain", **headers: str) -> Exchange:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    lines = [*named, (b"content-type", kind.encode())]
    return Exchange("GET", "https://a.example/", [], b"", status, lines, bytearray(body.encode()))


def in_seconds(seconds: float) -> str:
    """The date of RFC 9110."""
    return format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds), usegmt=True)


def test_date_to_come_back() -> None:
    for status in (429, 503):
        seconds = retry_after(answered(status, retry_after=in_seconds(60)), 2)
        assert seconds is not None
        assert 55 < seconds <= 60
    assert retry_after(answered(429, retry_after=in_seconds(-60)), 2) == 0


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "2", 2),
        (429, " 120 ", 120),
        (503, "7", 7),
        (429, "", 4),  # the third attempt
        (429, "soon", 4),
        (429, "-1", 4),
        (429, "9" * 400, 999_999_999),
        (429, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 4),
        (429, "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", 4),
        (429, "Mon, 01 Jan 2026 00:00:00 +99999999999999999999", 4),
    ],
)
def test_time_to_come_back(status: int, text: str, seconds: float) -> None:
    assert retry_after(answered(status, retry_after=text), 2) == seconds


@pytest.mark.parametrize(("status", "text"), [(503, ""), (200, "5"), (500, "5"), (301, "5"), (401, "5")])
def test_other_answers_ask_for_no_patience(status: int, text: str) -> None:
    assert retry_after(answered(status, retry_after=text), 0) is None


@pytest.mark.parametrize(
    "exchange",
    [
        answered(403, cf_mitigated="challenge"),
        answered(429, cf_mitigated="Challenge"),
        answered(503, "<html><head><title>Just a moment...</title>", "text/html; charset=utf-8"),
        answered(403, "<script>window._cf_chl_opt={cvId: '3'}</script>", "text/html"),
        answered(429, "<script src='/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1'>", "text/html"),
        answered(403, "<HTML><TITLE>Attention Required! | Cloudflare</TITLE>", "text/html"),
        answered(403, "<script src='/_Incapsula_Resource?x'></script>", "text/html"),
        answered(429, "<title>Vercel Security Checkpoint</title>", "text/html"),
        answered(202, x_amzn_waf_action="challenge"),
        answered(405, x_amzn_waf_action="captcha"),
    ],
)
def test_walls_are_seen(exchange: Exchange) -> None:
    assert is_wall(exchange)


@pytest.mark.parametrize(
    "exchange",
    [
        answered(403, "Forbidden"),
        answered(200, "<title>Just a moment</title>", "text/html"),  # a page of the agent's own
        answered(403, '{"error": "just a moment"}', "application/json"),
        answered(403, "<title>Forbidden</title>", "text/html", server="cloudflare"),
        # In ordinary pages behind Cloudflare, those of errors too.
        answered(500, "<h1>Oops</h1><script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'>", "text/html"),
        answered(403, "<h1>No</h1><script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'>", "text/html"),
        answered(404, "<title>Just a moment, we have moved</title>", "text/html"),
    ],
)
def test_other_refusals_are_no_walls(exchange: Exchange) -> None:
    assert not is_wall(exchange)


class Busy:
    """Puts off its first requests."""

    def __init__(self, count: int, retry_after: str) -> None:
        self.left, self.retry_after = count, retry_after
        self.asked: list[float] = []

    async def __call__(self, scope, receive, send) -> None:
        await Request(scope, receive).body()
        self.asked.append(time.monotonic())
        self.left -= 1
        late = {"retry-after": self.retry_after} if self.left >= 0 else {}
        await Response(status_code=429 if self.left >= 0 else 200, headers=late)(scope, receive, send)


async def ask(busy: Busy, deadline: float = 20.0, method: str = "GET", **limits: int) -> Exchange:
    async with serving(busy, lifespan="off") as url:
        at = target(url, deadline=deadline, limits=Limits(step_seconds=2, **limits))
        async with HttpClient.for_target(at, Guard(LOCAL)) as http:
            return await http.send(method, url)


async def test_who_asks_once_or_says_goodbye_takes_a_refusal_for_an_answer() -> None:
    for how in ({"retries": 0}, {"method": "DELETE"}):
        busy = Busy(1, "1")
        exchange = await ask(busy, **how)  # type: ignore[arg-type]
        assert (exchange.status, exchange.fault, len(busy.asked)) == (429, None, 1)


async def test_agent_that_puts_off_is_asked_again_when_it_said() -> None:  # E3
    busy = Busy(1, "1")
    exchange = await ask(busy)

    assert (exchange.status, exchange.fault) == (200, None)
    assert busy.asked[1] - busy.asked[0] >= 1


@pytest.mark.parametrize(
    ("count", "retry_after", "deadline", "requests"),
    [(1, "31", 90.0, 1), (1, "5", 4.0, 1), (9, "0", 20.0, Limits().retries + 1)],
)
async def test_patience_has_an_end(count: int, retry_after: str, deadline: float, requests: int) -> None:
    started = time.monotonic()
    busy = Busy(count, retry_after)
    exchange = await ask(busy, deadline)

    assert exchange.fault is not None
    assert (exchange.fault.kind, exchange.fault.is_the_agents) == (FaultKind.LIMITED, False)
    assert len(busy.asked) == requests
    assert time.monotonic() - started < 3
