"""Evidence: an exchange as JSON, without secrets and within a size (V1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from compliance.engines.http.exchange import HIDDEN, Exchange, Headers
from compliance.engines.http.written_secrets import SecretFinder

_MAX_DEPTH = 40
_HEADERS = 100  # of one message
_HEADERS_LENGTH = 16 * 1024  # of one message's headers, as JSON
_URL_LENGTH = 2000

# Compared after dropping everything but letters, so that api_key, X-Api-Key and apiKey are one.
_SECRET = re.compile(
    r"authorization$|authentication$|^auth$|token$|secret|passw(or)?d|passphrase|apikey|accesskey|privatekey|signingkey"
    r"|cookie|credentials?$|sessionid$|^jwt$|bearer$"
)
_NOT_SECRET = {"progresstoken", "nextpagetoken", "pagetoken", "maxtoken", "inputtoken", "outputtoken"}


@lru_cache(maxsize=4096)  # the same few names come again and again, hundreds of times a run
def _names_secret(key: str) -> bool:
    plain = re.sub(r"[^a-z]", "", key.lower())
    return plain not in _NOT_SECRET and bool(_SECRET.search(plain))


def is_secret_key(key: str) -> bool:
    """Whether what stands under this name is to be hidden."""
    return _names_secret(key) if len(key) <= 200 else _names_secret.__wrapped__(key)


class Redactor:
    """Hides secrets by the name they go under, and the secrets in use wherever they turn up."""

    def __init__(self, secrets: Iterable[str | None], cap: int) -> None:
        self._finder = SecretFinder(secrets)
        self._cap = cap

    def text(self, text: str) -> str:
        """Without the secrets in use, and without what a database cannot store as text."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        return self._finder.replace(text.replace("\x00", "\ufffd"), HIDDEN)

    def start(self, text: str, length: int) -> str:
        """At most `length` characters of a text, without the secrets and without a part of one at its end.

        A secret that lies across the cut is known by nothing but its beginning. Looks at twice the length, because
        hiding makes texts shorter; a text of just that size counts as one that was cut before.
        """
        seen = self.text(text[: length * 2])
        return (self._closed(seen) if len(text) >= length * 2 else seen)[:length]

    def _closed(self, text: str) -> str:
        """A text that was cut, without the beginning of a secret that its end may be."""
        end = self._finder.cut_short_at(text)
        return text if end == len(text) else text[:end] + HIDDEN

    def value(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            # A key of digits alone, which came back as a number.
            return HIDDEN if self.text(str(value)) != str(value) else value
        if isinstance(value, dict | list) and depth >= _MAX_DEPTH:
            return "[deeper levels left out]"
        if isinstance(value, dict):
            return {
                self.text(str(k)): HIDDEN if is_secret_key(str(k)) and _holds_secret(v) else self.value(v, depth + 1)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        return value

    def payload(self, raw: bytes, size: int | None = None) -> Any:
        """A body as JSON where it is JSON and fits, as text with a note of the cut where it is not.

        size: of the whole body in bytes, where raw is only its beginning, which may end in the midst of a secret.
        """
        if not raw:
            return None
        whole = len(raw) if size is None else size
        if whole <= self._cap:
            try:
                value = self.value(json.loads(raw, parse_constant=str))
            except (ValueError, RecursionError):
                pass
            else:
                if _length(value) <= self._cap * 3 // 2:
                    return value
        # A cut may fall in the middle of a secret: redact first, on somewhat more than is kept.
        seen = raw[: self._cap * 2]
        text = self.text(_hide_pairs(seen.decode("utf-8", "replace")))
        if len(seen) < whole or len(raw) >= self._cap * 2:
            text = self._closed(text)
        shown = text
        while len(shown.encode()) > self._cap:
            shown = shown[: len(shown) * self._cap // len(shown.encode())]
        # As JSON a control character is six: what swells so is cut, or a report could not hold it.
        while shown and (length := _length(shown)) > self._cap * 3 // 2:
            shown = shown[: len(shown) * self._cap // length]
        if len(shown) < len(text) or whole > self._cap:
            shown += f"\n[cut: {whole:,} bytes in all]"
        return shown

    def headers(self, headers: Headers) -> dict[str, str]:
        shown: dict[str, str] = {}
        left = _HEADERS_LENGTH
        for raw_key, raw_value in headers[:_HEADERS]:
            # The secret first: an agent may send it back as a header's name, and case would hide it from us.
            key = self.text(raw_key.decode("latin-1")).lower()
            hidden = key in ("authorization", "proxy-authorization") or is_secret_key(key)
            value = HIDDEN if hidden else self.text(raw_value.decode("latin-1"))[:2000]
            left -= _length(key) + _length(value)
            if left < 0:
                shown["[cut]"] = f"{len(headers)} headers in all"
                break
            # Some may come several times, such as WWW-Authenticate.
            shown[key] = f"{shown[key]}, {value}" if key in shown and not hidden else value
        return shown

    def request(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "method": exchange.method,
            "url": self.url(exchange.url),
            "headers": self.headers(exchange.sent_headers or exchange.request_headers),
            "body": self.payload(exchange.request_body),
        }

    def response(self, exchange: Exchange) -> dict[str, Any] | None:
        if not exchange.status and exchange.fault is None:
            return None
        shown: dict[str, Any] = {"status": exchange.status or None}
        if exchange.hops:
            shown["redirected_to"] = [self.url(hop) for hop in exchange.hops]
        if exchange.status:
            shown["headers"] = self.headers(exchange.headers)
            shown["body"] = self.payload(_event_data(exchange), exchange.size or None)
        shown["ms"] = round(exchange.seconds * 1000)
        if exchange.fault is not None:
            shown["fault"] = self.text(exchange.fault.message)
        return shown

    def url(self, url: str) -> str:
        """Without user information, and with secret query parameters hidden."""
        url = re.sub(r"//[^/@?#]*@", "//", url)
        url = re.sub(
            r"([?&])([^=&#]+)=([^&#]*)",
            lambda m: f"{m[1]}{m[2]}={HIDDEN}" if is_secret_key(m[2]) or m[2] in ("key", "sig") else m[0],
            url,
        )
        return self.text(url)[:_URL_LENGTH]


def _length(value: Any) -> int:
    """How long the value is as JSON, which is what a report's size is measured in."""
    return len(json.dumps(value))


def _holds_secret(value: Any) -> bool:
    # A schema that describes a property called "password" is no secret.
    return not isinstance(value, dict | bool | None)


def _hide_pairs(text: str) -> str:
    return re.sub(
        r'"([^"\\]{1,64})"(\s*:\s*)"((?:[^"\\]|\\.)*)("|$)',
        lambda m: f'"{m[1]}"{m[2]}"{HIDDEN}{m[4]}' if is_secret_key(m[1]) else m[0],
        text,
    )


def _event_data(exchange: Exchange) -> bytes:
    """The message in an event stream that holds just one; else the stream as it came."""
    raw = bytes(exchange.body)
    if exchange.media_type != "text/event-stream" or raw.count(b"data:") != 1:
        return raw
    data = next((line for line in raw.splitlines() if line.startswith(b"data:")), b"")
    return data[5:].strip()
