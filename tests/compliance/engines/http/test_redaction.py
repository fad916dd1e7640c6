"""Evidence holds no secret, fits its size, and can be stored (V1)."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.redaction import HIDDEN, Redactor, is_secret_key

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


def unicode_escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def in_lines(columns: int, end: str) -> Callable[[str], str]:
    def encode(text: str) -> str:
        encoded = base64.b64encode(text.encode()).decode()
        return end.join(encoded[at : at + columns] for at in range(0, len(encoded), columns))

    return encode


def base64_after(before: str, *, padded: bool = True, url: bool = False) -> Callable[[str], str]:
    """Base64 of the text and of what stands before it, which moves it to another offset."""

    def encode(text: str) -> str:
        encoder = base64.urlsafe_b64encode if url else base64.b64encode
        encoded = encoder(f"{before}{text}.".encode()).decode()
        return encoded if padded else encoded.rstrip("=")

    return encode


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "address": lambda text: quote(text, safe=""),
    "address with slashes": lambda text: quote(text, safe="/"),
    "address in lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "form": quote_plus,
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper(),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON in numbers": unicode_escaped,
    **{f"base64 at {len(before)}": base64_after(before) for before in ("", "a", "ab")},
    **{f"base64 at {len(before)} without padding": base64_after(before, padded=False) for before in ("", "a", "ab")},
    **{f"base64 for addresses at {len(before)}": base64_after(before, url=True) for before in ("", "a", "ab")},
    "base64 in lines of 64": in_lines(64, "\n"),
    "base64 in lines of 76": in_lines(76, "\r\n"),
}
# Parts that every encoding changes, and long enough for lines of base64.
WRITTEN = "sk/live+4f9a~77c2?\"X\u00e9<Y>&' Z%0123456789-abcdefghijklmnopqrstuvwxyz-0123456789"


def assert_hidden(shown: str, encoded: str) -> None:
    """A third of what was written may be left: at its edges base64 depends on what stands beside it."""
    size = min(40, max(6, len(encoded) // 3))
    pieces = (encoded[at : at + size] for at in range(len(encoded) - size + 1))
    assert next((piece for piece in pieces if piece in shown), "") == ""
    assert HIDDEN in shown


@pytest.mark.parametrize("inner", ENCODINGS)
@pytest.mark.parametrize("outer", ENCODINGS)
def test_a_secret_is_hidden_in_each_encoding_of_each_encoding(inner: str, outer: str) -> None:  # V1, E10
    encoded = ENCODINGS[outer](ENCODINGS[inner](WRITTEN))
    hiding = Redactor([f"Bearer {WRITTEN}", WRITTEN], 64 * 1024)

    as_text = hiding.payload(f"you sent {encoded} to us".encode())
    in_json = hiding.payload(json.dumps({"echo": f"x {encoded} y"}).encode())

    assert_hidden(as_text, encoded)
    assert as_text.startswith("you sent ")
    assert as_text.endswith(" to us")
    assert_hidden(in_json["echo"], encoded)


@given(
    st.sampled_from(sorted(ENCODINGS)), st.sampled_from(sorted(ENCODINGS)),
    st.text(st.characters(codec="ascii"), max_size=80), st.text(st.characters(codec="ascii"), max_size=80),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=16, max_size=120),
)  # fmt: skip
def test_whatever_the_secret_and_whatever_stands_beside_it(
    inner: str, outer: str, before: str, after: str, secret: str
) -> None:  # V1, E10
    encoded = ENCODINGS[outer](ENCODINGS[inner](secret))

    shown = Redactor([secret], 64 * 1024).payload(f"{before} {encoded} {after}".encode())

    assert_hidden(shown if isinstance(shown, str) else json.dumps(shown), encoded)


def test_megabytes_are_redacted_in_a_moment() -> None:
    megabytes = json.dumps([{"name": f"tool {n}", "text": 'Lines\nof 100%, "quoted" ' * 10} for n in range(15_000)])
    hiding = Redactor([f"Bearer {WRITTEN}", WRITTEN], 64 * 1024)

    started = time.process_time()
    shown = hiding.payload(megabytes.encode())

    assert len(megabytes) > 4_000_000
    assert shown.endswith("bytes in all]")
    assert time.process_time() - started < 1


SECRET = "sk-live-4f9a-77c2-XYZW-0123456789"


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 120))
def test_cut_in_the_middle_of_a_secret_leaves_no_beginning_of_it(before: int, copies: int, length: int) -> None:  # V1
    said = "n" * before + SECRET * copies

    shown = Redactor([SECRET], 64).start(said, length)

    assert len(shown) <= length
    assert SECRET[:4] not in shown


@given(st.integers(1, 60), st.integers(16, 300))
def test_many_copies_of_a_secret_do_not_carry_the_last_one_past_the_cut(copies: int, cap: int) -> None:  # V1
    shown = Redactor([SECRET], cap).payload(("x" + SECRET * copies).encode())

    assert SECRET[:4] not in shown


def test_body_that_was_not_kept_whole_does_not_end_with_the_beginning_of_a_secret() -> None:  # V1
    exchange = Exchange("GET", "http://x/", [], b"", status=200, size=90_000)
    exchange.body += f"you sent {SECRET[:20]}".encode()

    assert Redactor([SECRET], 4096).response(exchange)["body"].startswith("you sent [redacted]\n")


def test_whole_text_that_ends_like_a_secret_begins_is_left() -> None:
    shown = Redactor([SECRET], 4096)

    assert shown.start("keys begin with sk-live-", 100) == "keys begin with sk-live-"
    assert shown.payload(b"keys begin with sk-live-") == "keys begin with sk-live-"


@given(st.binary(max_size=12), st.binary(max_size=12), st.sampled_from([TOKEN, SECRET, "p\u00e4ss wort~~~"]))
def test_secret_in_base64_is_hidden_wherever_it_begins(before: bytes, after: bytes, secret: str) -> None:  # V1
    raw = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = Redactor([secret], 4096).text(encode(before + raw + after).decode())

        # What a decoder makes of what is left around the hidden part holds no four letters of it in a row.
        assert HIDDEN in shown
        rest = [
            base64.urlsafe_b64decode(part[: len(part) // 4 * 4].translate(str.maketrans("+/", "-_")))
            for part in shown.rstrip("=").split(HIDDEN)[:1]
        ]
        assert not any(raw[:4] in part.removeprefix(before) for part in rest)


def test_secret_of_digits_that_comes_back_as_a_number_is_hidden() -> None:  # V1
    shown = Redactor(["12345678901234"], 4096).payload(b'{"key": 12345678901234, "count": 3, "ok": true}')

    assert shown == {"key": HIDDEN, "count": 3, "ok": True}


@pytest.mark.parametrize("written", ["tok%22en%2f%2b%c3%a9", "a+tok%22en%2F%2B%C3%A9"])
def test_secret_in_an_address_is_hidden_in_either_case(written: str) -> None:  # V1
    assert "en%2" not in redactor().text(written)
