"""The one spelling of an agent's address. Everything that names an agent uses it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import idna

MAX_LENGTH = 2048  # characters; also keeps the value indexable (PostgreSQL's limit is about 2,700 bytes)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\<>\"^`{|}\ud800-\udfff]")
# Characters of RFC 3986 that may stand in a path or query as they are; "%" keeps what is encoded already.
_PATH_SAFE = "/:@!$&'()*+,;=-._~%"
_QUERY_SAFE = _PATH_SAFE + "?"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class InvalidAgentURL(ValueError):
    """The text is not an agent's address; the message says what to do."""


def normalize_agent_url(text: str) -> str:
    """The normalized form of an agent's URL (RFC 3986 section 6.2.2, RFC 5891 for the host).

    In: what somebody typed. Out: http or https, lower-case ASCII host, no default port, no
    fragment, dot segments removed, percent-encoding in one spelling. Path and query keep their
    meaning: `/mcp` and `/mcp/` stay two addresses. Raises InvalidAgentURL.
    """
    text = text.strip()
    if not text:
        raise InvalidAgentURL("Enter the agent's address, such as https://agent.example/mcp.")
    if len(text) > MAX_LENGTH:
        raise InvalidAgentURL(f"The address has {len(text):,} characters; at most {MAX_LENGTH:,} are possible.")
    if _UNSAFE.search(text):
        raise InvalidAgentURL('The address holds a space, a control character or one of \\ < > " ^ ` { | }. Remove it.')
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidAgentURL("The address cannot be read. Its port must be a number from 1 to 65535.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidAgentURL("The address must begin with https:// (or http:// for an agent without TLS).")
    if "@" in parts.netloc:
        raise InvalidAgentURL("Remove the user name and password from the address: it is shown to other people.")
    if port == 0:
        raise InvalidAgentURL("Port 0 cannot be reached. Use a number from 1 to 65535.")
    host = _normalize_host(parts.hostname or "")
    netloc = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    path = _remove_dot_segments(_encode(parts.path, _PATH_SAFE)) or "/"
    url = urlunsplit((parts.scheme, netloc, path, _encode(parts.query, _QUERY_SAFE), ""))
    if len(url) > MAX_LENGTH:
        raise InvalidAgentURL(
            f"The address has {len(url):,} characters when encoded; at most {MAX_LENGTH:,} are possible."
        )
    return url


def refuse_credentials(agent_url: str) -> None:
    """Raise InvalidAgentURL when a parameter of the normalized address is named like a credential.

    Not part of the spelling: an address that is known already is still found by it.
    """
    # Imported here, because it brings an HTTP client along, and pages that register nothing need none.
    from compliance.engines.http.redaction import is_secret_key

    for name, _ in parse_qsl(urlsplit(agent_url).query, keep_blank_values=True):
        # The two that are hidden in addresses only: elsewhere they are names like any other.
        if is_secret_key(name) or name.lower() in ("key", "sig"):
            raise InvalidAgentURL(
                f"Remove the parameter “{name[:40]}” from the address: it looks like a credential, and an address is"
                " shown to other people and kept in every run. Credentials are not kept in addresses."
            )


def _normalize_host(host: str) -> str:
    if not host:
        raise InvalidAgentURL("The address has no host. Write it as https://agent.example/mcp.")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return f"[{address.compressed}]" if address.version == 6 else str(address)
    if ":" in host or "%" in host:
        raise InvalidAgentURL(f"“{host}” is not a host name or an IP address.")
    try:
        name = idna.encode(host.rstrip("."), uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        # Underscores are no host names by the standard, yet stand in private networks' names.
        name = host.rstrip(".").lower()
        if not re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*", name) or len(name) > 253:
            raise InvalidAgentURL(f"“{host[:80]}” is not a valid host name.") from None
    if re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*", name):
        raise InvalidAgentURL(f"“{host}” is an odd spelling of an IP address. Write it as four decimal numbers.")
    return name


def _encode(text: str, safe: str) -> str:
    # "%" is safe above so that encoded octets survive; a bare "%" is encoded here, and needless encoding removed.
    quoted = quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe=safe)

    def one_spelling(match: re.Match[str]) -> str:
        character = unquote(match.group())
        return character if character in _UNRESERVED else match.group().upper()

    return re.sub(r"%[0-9A-Fa-f]{2}", one_spelling, quoted)


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment in (".", ".."):
            if segment == ".." and len(kept) > 1:
                kept.pop()
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)
