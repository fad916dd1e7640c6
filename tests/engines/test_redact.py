"""Evidence holds no secret, fits its size, and can be stored (V1)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines.exchange import Exchange
from compliance.engines.redact import HIDDEN, Redactor, is_secret_key

TOKEN = 'tok"en/+é'


def redactor(cap: int = 4096) -> Redactor:
    return Redactor([TOKEN, None, ""], cap)


@pytest.mark.parametrize(
    "key",
    [
        "Authorization",
        "proxy-authorization",
        "X-Api-Key",
        "apiKey",
        "api_key",
        "access_token",
        "refreshToken",
        "id_token",
        "client_secret",
        "clientSecret",
        "password",
        "Passwd",
        "Set-Cookie",
        "cookie",
        "private_key",
        "credentials",
        "mcp-session-id",
    ],
)
def test_secret_keys_are_known(key: str) -> None:  # V1
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["progressToken", "pageToken", "maxTokens", "name", "authorization_servers", "author"])
def test_harmless_keys_are_left(key: str) -> None:
    assert not is_secret_key(key)


def test_values_under_secret_keys_are_hidden_at_any_depth() -> None:  # V1
    body = {"a": [{"client_secret": "x1"}, {"tokens": 3}], "auth": {"password": "x2", "user": "u"}, "cookies": ["x3"]}
    shown = json.dumps(redactor().payload(json.dumps(body).encode()))

    assert all(secret not in shown for secret in ("x1", "x2", "x3"))
    assert '"user": "u"' in shown


def test_schema_of_a_property_called_password_is_kept() -> None:
    schema = {"properties": {"password": {"type": "string"}}}

    assert redactor().payload(json.dumps(schema).encode()) == schema


@pytest.mark.parametrize(
    "body", [f"you sent {TOKEN}", json.dumps({"t": TOKEN}), "tok%22en%2F%2B%C3%A9", json.dumps([TOKEN])]
)
def test_token_in_use_is_hidden_in_every_form(body: str) -> None:  # V1
    shown = json.dumps(redactor().payload(body.encode()), ensure_ascii=False)

    assert HIDDEN in shown
    assert "en/+" not in shown


@given(st.text(max_size=200), st.text(max_size=200), st.integers(1, 400))
def test_token_is_hidden_wherever_it_stands_and_wherever_the_cut_falls(before: str, after: str, cap: int) -> None:  # V1
    shown = Redactor(["s3cr3t-value"], cap).payload(f"{before}s3cr3t-value{after}".encode("utf-8", "replace"))

    assert "s3cr3t-v" not in json.dumps(shown)


def test_text_that_is_no_json_loses_its_secrets_too() -> None:  # V1
    shown = redactor().payload(b'broken {"password": "hunter2", "x": 1')

    assert "hunter2" not in shown


def test_payload_over_the_cap_is_cut_and_says_so() -> None:
    shown = redactor(1000).payload(b"x" * 5000)

    assert len(shown) < 1100
    assert shown.endswith("[cut: 5,000 bytes in all]")


@pytest.mark.parametrize(
    "raw", [b'"\\u0000"', b"\x00\xff", b'"\\ud800"', b"[NaN, Infinity]", b"[" * 5000, b"[" * 900 + b"]" * 900]
)
def test_everything_can_be_stored_as_json(raw: bytes) -> None:
    shown = json.dumps(redactor().payload(raw), allow_nan=False)

    assert "\\u0000" not in shown
    assert "\\ud800" not in shown


def test_headers_and_address_are_redacted() -> None:  # V1
    exchange = Exchange(
        "GET",
        "https://user:pw@agent.example/mcp?api_key=k1&page=2&key=k2",
        [(b"Authorization", b"Bearer zzz"), (b"X-Api-Key", b"k3"), (b"Accept", b"*/*")],
        b"",
        status=200,
        headers=[(b"Set-Cookie", b"sid=k4"), (b"Mcp-Session-Id", b"k5"), (b"Server", b"x")],
    )
    shown = json.dumps([redactor().request(exchange), redactor().response(exchange)])

    assert all(secret not in shown for secret in ("zzz", "k1", "k2", "k3", "k4", "k5", "user:pw"))
    assert "page=2" in shown
    assert '"accept": "*/*"' in shown


def test_message_in_an_event_stream_is_shown_as_json() -> None:
    exchange = Exchange("POST", "http://x/", [], b"{}", status=200, headers=[(b"content-type", b"text/event-stream")])
    exchange.body += b'event: message\ndata: {"jsonrpc": "2.0"}\n\n'

    assert redactor().response(exchange)["body"] == {"jsonrpc": "2.0"}
