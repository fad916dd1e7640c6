"""Kinds of credentials: what each consists of, what is refused, what an agent gets to see of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models

from compliance.engines import Credential as Usable
from compliance.engines.http.egress import Guard, refusal, written_address
from compliance.tenancy.errors import Refused

MIN_SECRET = 6  # characters: hiding shorter ones wherever they turn up would hide half of a report
MAX_SECRET = 8000  # characters; a request's headers must fit into what servers accept
_HINTED = 16  # characters: the end of a shorter secret says too much of it
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
# Headers that say how a request is built, or whose it is to Assay: a key under their name would break it.
_RESERVED = re.compile(
    r"(host|connection|keep-alive|te|trailer|upgrade|expect|cookie|accept|accept-encoding|user-agent|mcp-.*|a2a-.*"
    r"|content-.*|transfer-.*|proxy-.*|forwarded|x-forwarded-.*|last-event-id)"
)


class Kind(models.TextChoices):
    BEARER = "bearer", "Bearer token"
    BASIC = "basic", "User name and password"
    API_KEY = "api_key", "API key in a header"
    OAUTH = "oauth", "OAuth client credentials"


class ClientAuthentication(models.TextChoices):
    """How an OAuth client proves itself to the token endpoint (RFC 6749, section 2.3.1)."""

    HEADER = "header", "In the Authorization header"
    BODY = "body", "In the form that is posted"


# What is stored in the clear beside each kind's secret, and shown.
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    Kind.BEARER: (),
    Kind.BASIC: ("username",),
    Kind.API_KEY: ("header",),
    Kind.OAUTH: ("token_url", "client_id", "scope", "client_authentication"),
}


def checked(kind: str, parameters: Mapping[str, str], secret: str) -> tuple[dict[str, str], str]:
    """The parameters of this kind and the secret, in the form that is stored.

    Raises Refused with a message that holds nothing of the secret.
    """
    if kind not in Kind.values:
        raise Refused("Choose what kind of credential it is.")
    kept = {name: str(parameters.get(name) or "").strip() for name in PARAMETERS[kind]}
    # People copy with a line's end or a blank; only passwords may begin or end with one.
    secret = secret if kind == Kind.BASIC else secret.strip()
    if not secret:
        raise Refused("Enter the secret.")
    if len(secret) < MIN_SECRET:
        raise Refused(
            f"The secret is shorter than {MIN_SECRET} characters: too short to be hidden in what agents send."
        )
    if len(secret) > MAX_SECRET:
        raise Refused(f"The secret is longer than {MAX_SECRET:,} characters.")
    if kind == Kind.BASIC:
        _check_basic(kept, secret)
    elif not _VISIBLE.fullmatch(secret):
        raise Refused("The secret holds a blank or a character that cannot be sent in a header. Copy it again.")
    if kind == Kind.API_KEY:
        _check_header(kept["header"])
    if kind == Kind.OAUTH:
        _check_oauth(kept)
    return kept, secret


def _check_basic(parameters: dict[str, str], secret: str) -> None:
    username = parameters["username"]
    if not username or ":" in username or not username.isprintable() or len(username) > 200:
        raise Refused("Enter the user name: up to 200 characters, without a colon.")
    if not secret.isprintable():
        raise Refused("The password holds a character that cannot be typed. Copy it again.")


def _check_header(name: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise Refused("Enter the header's name, such as X-API-Key.")
    if _RESERVED.fullmatch(name.lower()):
        raise Refused(f"The header {name} has a meaning of its own and cannot carry a key.")


def _check_oauth(parameters: dict[str, str]) -> None:
    address = parameters["token_url"]
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not _VISIBLE.fullmatch(address) or len(address) > 2000 or "@" in parts.netloc or parts.fragment:
        raise Refused("Enter the token endpoint's address, such as https://login.example/oauth2/token.")
    _check_endpoint(parts.scheme, host, port or (80 if parts.scheme == "http" else 443))
    if not parameters["client_id"] or len(parameters["client_id"]) > 300 or not parameters["client_id"].isprintable():
        raise Refused("Enter the client's id: up to 300 characters.")
    if len(parameters["scope"]) > 1000 or not parameters["scope"].isprintable():
        raise Refused("The scope is a list of words with blanks between them, up to 1,000 characters.")
    parameters["client_authentication"] = parameters["client_authentication"] or ClientAuthentication.HEADER
    if parameters["client_authentication"] not in ClientAuthentication.values:
        raise Refused("Choose how the client proves itself to the token endpoint.")


def _check_endpoint(scheme: str, host: str, port: int) -> None:
    """Refuse what the guard would refuse on use, as far as it can be told without looking a name up.

    What the operator's allow-list names may be inside, and may do without TLS.
    """
    exempt = Guard(settings.EGRESS_ALLOW).exempts(host, port)
    if scheme != "https" and not (scheme == "http" and exempt):
        raise Refused("The token endpoint's address must begin with https: the client's secret is sent there.")
    address = None if exempt else written_address(host)
    if address is not None and (reason := refusal(address)):
        raise Refused(
            f"Assay does not connect to {host} ({reason}). Enter a public address of the token endpoint, or ask Assay's"
            " operator to allow this one."
        )


def hint_of(kind: str, secret: str) -> str:
    """The last characters, by which people tell secrets apart: at most four, and never more than a fifth.

    None of a short secret, nor of a password: people choose those, and their end is too much of them.
    """
    if kind == Kind.BASIC or len(secret) < _HINTED:
        return ""
    return secret[-min(4, len(secret) // 5) :]


def usable(
    kind: str,
    parameters: Mapping[str, str],
    secret: str,
    *,
    token: str = "",
    organization_id: str,
    credential_id: str,
    name: str,
) -> Usable:
    """What an engine is given. token: for OAuth, which sends the access token that the secret bought."""
    whose = {"organization_id": organization_id, "credential_id": credential_id, "name": name}
    if kind == Kind.BASIC:
        encoded = base64.b64encode(f"{parameters['username']}:{secret}".encode()).decode()
        return Usable("Authorization", f"Basic {encoded}", (secret, encoded), **whose)
    if kind == Kind.API_KEY:
        return Usable(parameters["header"], secret, (secret,), **whose)
    value = token if kind == Kind.OAUTH else secret
    return Usable("Authorization", f"Bearer {value}", tuple(dict.fromkeys((value, secret))), **whose)
