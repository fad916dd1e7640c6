"""The server, over HTTP: each call of the contract, and what each bad answer means.

Only an answer that is Assay's own, by its form, decides anything. What a proxy or a captive portal between here and
there says with the same status is a fault that passes.
"""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import certifi
import httpx

from compliance import __version__
from compliance.runners.program.api import Mismatch, Released, Renewed, Work, read
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.server_proxy import ServerProxy

WAIT_SECONDS = 50  # how long the server may hold a poll that has no work
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_REPORT_SECONDS = 120.0  # a report has up to some tens of megabytes
_RETRY_AFTER_MOST = 3600.0
_PROBLEM = "application/problem+json"
_UPGRADE = "Install the assay-runner of that server's release."


class Unavailable(Exception):
    """The server did not answer as it should; trying again may help. retry_after: seconds that it asked for."""

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Refused(Exception):
    """The server decided: trying again would change nothing. kind: the problem's type, such as "lease-lost"."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail or kind)
        self.status = status
        self.kind = kind


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts what the machine and certifi trust, and the authorities in the file. Raises Problem."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            why = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            remedy = "Give the certificate of the authority that signed the server's, in PEM form."
            raise Problem(Exit.USAGE, f"--ca-file {ca_file} cannot be used: {why}.", remedy) from None
    return context


class Client:
    def __init__(self, url: str, token: str, *, context: ssl.SSLContext, proxy: ServerProxy | None = None) -> None:
        self.url = url
        self._proxy = proxy
        self.date = ""  # of the last answer, as the server wrote it
        self._http = httpx.AsyncClient(
            base_url=f"{url}/api/v1/runner/",
            headers={"Authorization": f"Bearer {token}", "User-Agent": f"assay-runner/{__version__}"}
            | {"Content-Type": "application/json", "Accept": f"application/json, {_PROBLEM}"},
            verify=context,
            proxy=proxy.address if proxy else None,
            trust_env=False,  # its variables were read
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=10),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def poll(self, body: dict[str, Any], *, wait: bool) -> Work:
        """Ask for work. Raises Problem for what no waiting mends, and Unavailable."""
        headers = {"Prefer": f"wait={WAIT_SECONDS}"} if wait else {}
        seconds = _ANSWER_SECONDS + (WAIT_SECONDS if wait else 0)
        try:
            return read(Work, await self._post("poll", body, seconds=seconds, headers=headers))
        except Mismatch as mismatch:
            raise _not_understood(f"the answer to a poll: {mismatch}") from None
        except Refused as refused:
            if refused.status == 404:
                raise Problem(
                    Exit.VERSION, "This Assay server knows no private runners; it is older than this program.", _UPGRADE
                ) from None
            raise _not_understood(f"it refused the poll ({refused.status}: {refused})") from None

    async def sign_off(self) -> None:
        """Say that the runner stops, so that nothing is left waiting for it. Raises Problem and Unavailable."""
        await self.poll({"at_most": 0, "leaving": True}, wait=False)

    async def renew(self, leases: list[dict[str, Any]], *, seconds: float) -> Renewed:
        """Renew leases. Raises Problem, Unavailable and Refused."""
        try:
            return read(Renewed, await self._post("renew", {"leases": leases}, seconds=seconds))
        except Mismatch as mismatch:
            raise Unavailable(f"the answer to a renewal cannot be read: {mismatch}") from None

    async def end(self, job_id: str, call: str, body: dict[str, Any]) -> dict[str, Any]:
        """Complete, fail or release a job. Raises Problem, Unavailable and Refused."""
        answer = await self._post(f"jobs/{job_id}/{call}", body, seconds=_REPORT_SECONDS)
        if not isinstance(answer, dict) or not ({"run_id", "state"} & answer.keys()):
            raise Unavailable("the answer is JSON, but not Assay's")
        return answer

    async def credential(self, job_id: str, token: str) -> Released:
        """The credential of a lease. Raises Problem, Unavailable and Refused."""
        answer = await self._post(f"jobs/{job_id}/credential", {"token": token}, seconds=_ANSWER_SECONDS)
        try:
            return read(Released, answer)
        except Mismatch as mismatch:
            raise Refused(200, "unreadable", f"the released credential cannot be read: {mismatch}") from None

    async def _post(
        self, path: str, body: dict[str, Any], *, seconds: float, headers: dict[str, str] | None = None
    ) -> Any:
        timeout = httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))
        try:
            answer = await self._http.post(path, content=as_bytes(body), headers=headers, timeout=timeout)
        except httpx.TimeoutException:
            raise Unavailable(f"{self.url} did not answer in time") from None
        except httpx.DecodingError:
            raise Unavailable(f"{self.url} answered with what cannot be decoded") from None
        except httpx.ProxyError as error:
            raise Unavailable(self._refused_by_proxy(str(error))) from None
        except httpx.TransportError as error:
            raise Unavailable(_transport_words(self.url, error, self._proxy)) from None
        if answer.status_code == 407:
            raise Unavailable(self._refused_by_proxy(f"407 {answer.reason_phrase}"))
        self.date = answer.headers.get("date", "")
        return _decided(self.url, answer)

    def _refused_by_proxy(self, words: str) -> str:
        if self._proxy is None:
            return f"a proxy on the way to {self.url} refused ({words[:100]})"
        hint = ": give a user and a password in it" if words.startswith("407") else ""
        see = f"see {self._proxy.variable}{hint}"
        return f"the proxy {self._proxy.shown} refused the way to {self.url} ({words[:100]}); {see}"


def _decided(url: str, answer: httpx.Response) -> Any:
    """The JSON of a good answer; raises for every other."""
    try:
        data = answer.json()
    except (ValueError, RecursionError):
        data = None
    if answer.status_code == 200 and data is not None:
        return data
    media = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    ours = media == _PROBLEM and isinstance(data, dict)
    kind = str(data.get("type", "")).removeprefix("/problems/") if ours else ""
    detail = " ".join(str(data.get("detail") or data.get("title") or "").split())[:500].rstrip(".") if ours else ""
    status = answer.status_code
    retry_after = _retry_after(answer)
    if status in (429, 502, 503, 504) or retry_after is not None:
        raise Unavailable(f"{url} is busy or away (status {status})" + (f": {detail}" if detail else ""), retry_after)
    if status in (301, 302, 303, 307, 308):
        to = answer.headers.get("location", "")[:200]
        raise Unavailable(f"{url} redirects to {to}, where the token is not sent: give that server's address as --url")
    if not ours:
        raise Unavailable(f"{url} answered with status {status} and not as Assay does: is --url an Assay server")
    if status == 401:
        raise Problem(Exit.TOKEN, f"The server does not accept the token: {detail or 'unauthorized'}.", _MEND_TOKEN)
    if status == 426:
        raise Problem(Exit.VERSION, f"The server wants another version of this program: {detail}.", _UPGRADE)
    if status == 403 and kind != "not-released":
        raise Problem(Exit.TOKEN, f"The token may not do this: {detail or 'not allowed'}.", _MEND_TRUST)
    if status >= 500:
        raise Unavailable(f"{url} had a fault of its own (status {status})")
    raise Refused(status, kind, detail)


_DELETED = "A runner that is no longer there was deleted: create another one, and use its token."
_MEND_TOKEN = (
    f"An owner or admin of the organization can give the runner a new token in Assay, under Runners. {_DELETED}"
)
_MEND_TRUST = f"That is done in Assay, under Runners; a new token changes nothing. {_DELETED}"


def _not_understood(what: str) -> Problem:
    words = f"This program (version {__version__}) and the server do not understand each other: {what}."
    return Problem(Exit.VERSION, words, _UPGRADE)


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds. A date is not heeded: it is by the server's clock, and ours may be wrong."""
    text = answer.headers.get("retry-after", "").strip()
    return min(float(text), _RETRY_AFTER_MOST) if text.isascii() and text.isdigit() else None


def _transport_words(url: str, error: httpx.TransportError, proxy: ServerProxy | None) -> str:
    if proxy is not None and isinstance(error, httpx.ConnectError) and not _is_tls(error):
        # The first connection is to the proxy; what it says of the server itself is its refusal.
        return f"no connection to the proxy {proxy.shown}, which {proxy.variable} names"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {url} is not trusted ({cause.verify_message}): "
                "for a private authority give --ca-file, and check this machine's clock"
            )
        if isinstance(cause, ssl.SSLError):
            return f"no TLS session with {url} ({(cause.reason or 'handshake failed').replace('_', ' ').lower()})"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {url}"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection to {url}: {cause.strerror.lower()}"
        cause = cause.__cause__ or cause.__context__
    return f"the connection to {url} broke ({type(error).__name__})"


def _is_tls(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def as_bytes(value: Any) -> bytes:
    """JSON as files keep it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")
