"""Access tokens by OAuth client credentials (RFC 6749, section 4.4), fetched under the rules of the egress guard."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode

import httpx2

from compliance.engines.contract import Credential, Limits
from compliance.engines.http.client import HttpClient
from compliance.engines.http.egress import Guard

_TOKEN = re.compile(r"[\x21-\x7e]{1,8000}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_ANSWER_BYTES = 64 * 1024
# The specification's own codes, in words for people. What else an endpoint says may quote a secret, and stays unsaid.
_CODES = {
    "invalid_client": "it does not know this client id and secret. Check both, and how the client proves itself",
    "invalid_request": "it calls the request malformed. Check how the client proves itself",
    "invalid_scope": "it does not know the scope, or does not give it to this client. Check the scope",
    "unauthorized_client": "this client may not use client credentials. Allow that grant type where it is registered",
    "unsupported_grant_type": "it does not issue tokens for client credentials. Is it the right address?",
    "invalid_grant": "it refused the client credentials. Check the client id and secret",
}


class TokenFailed(Exception):
    """No access token: the reason and what to do, in words that hold no secret."""


@dataclass(frozen=True, slots=True)
class Token:
    value: str = field(repr=False)
    expires_in: int | None  # seconds; None when the endpoint does not say


async def fetch_token(
    parameters: Mapping[str, str], secret: str, *, allow: tuple[str, ...], step_seconds: float
) -> Token:
    """Ask the token endpoint. One request, no redirects, at most `step_seconds`. Raises TokenFailed."""
    address, client_id = parameters["token_url"], parameters["client_id"]
    form = {"grant_type": "client_credentials"}
    if parameters.get("scope"):
        form["scope"] = parameters["scope"]
    proof = None
    if parameters.get("client_authentication") == "body":
        form |= {"client_id": client_id, "client_secret": secret}
    else:
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        proof = Credential("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    limits = Limits(step_seconds=step_seconds, response_bytes=_ANSWER_BYTES, redirects=0, retries=0)
    headers = [(b"Content-Type", b"application/x-www-form-urlencoded"), (b"Accept", b"application/json")]
    try:
        async with HttpClient(
            guard=Guard(allow), limits=limits, deadline=step_seconds, credential=proof, credential_url=address
        ) as http:
            answer = await http.send("POST", address, headers, urlencode(form).encode())
    except httpx2.InvalidURL:
        raise TokenFailed("The token endpoint's address cannot be read. Check it.") from None
    if answer.fault is not None:
        raise TokenFailed(f"The token endpoint gave no answer: {answer.fault.message}")
    try:
        document = json.loads(bytes(answer.body))
    except (ValueError, RecursionError):
        document = None
    if answer.status != 200:
        code = document.get("error") if isinstance(document, dict) else None
        advice = _CODES.get(code, "Check its address and the client") if isinstance(code, str) else "Check its address"
        raise TokenFailed(f"The token endpoint answered with status {answer.status}: {advice}.")
    return _read(document)


def _read(document: object) -> Token:
    if not isinstance(document, dict):
        raise TokenFailed("The token endpoint answered with something else than a JSON object. Check its address.")
    value, kind, expires_in = (document.get(name) for name in ("access_token", "token_type", "expires_in"))
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise TokenFailed("The token endpoint's answer holds no access token that can be sent in a header.")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenFailed("The token endpoint issues tokens of another type than bearer, which Assay cannot use.")
    if isinstance(expires_in, str) and _SECONDS.fullmatch(expires_in):
        expires_in = int(expires_in)  # against the specification, and common
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not 0 < expires_in < 10**9:
        return Token(value, None)
    return Token(value, int(expires_in))
