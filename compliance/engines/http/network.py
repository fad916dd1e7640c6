"""The connections of a run: opened only to addresses that the egress guard has checked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import certifi
import httpcore2

from compliance.engines.http.egress import AddressRefused, Connection, Guard
from compliance.engines.http.exchange import Fault, FaultKind, is_ours
from compliance.engines.http.racing import first_to_connect


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Built once for the process: reading the certificate authorities costs more than a whole run."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Attempt:
    """One connection for the log, or the attempt at one. Its bytes are those inside TLS."""

    def __init__(self, run_key: str, host: str, port: int) -> None:
        self.run_key = run_key
        self.host = host
        self.port = port
        self.address = ""
        self.up = self.down = 0
        self._started = time.monotonic()
        self._logged = False

    def ended(self, outcome: str) -> None:
        if self._logged:
            return
        self._logged = True
        seconds = time.monotonic() - self._started
        Connection(self.host, self.port, self.address, self.up, self.down, seconds, outcome).log(self.run_key)


class _Stream(httpcore2.AsyncNetworkStream):
    """Keeps the reason of a failed TLS handshake, which the pool's exceptions lose.

    What is written waits for the first read: head and body of a request go out together, in one system call.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream, backend: GuardedBackend, attempt: _Attempt) -> None:
        self._inner = inner
        self._backend = backend
        self._attempt = attempt
        self._unsent = bytearray()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            sent, self._unsent = bytes(self._unsent), bytearray()
            # Who closes early may have answered before: the pool looks for that too when a write fails.
            with contextlib.suppress(httpcore2.WriteError):
                await self._inner.write(sent, timeout)
                self._attempt.up += len(sent)
        data = await self._inner.read(max_bytes, timeout)
        self._attempt.down += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer

    async def aclose(self) -> None:
        self._attempt.ended("ok")
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        self._backend.handshaking = True
        try:
            stream = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except httpcore2.ConnectError as error:
            self._attempt.ended("broken")
            raise Fault(FaultKind.TLS, _tls_words(error)) from error
        except asyncio.CancelledError:
            self._attempt.ended("stopped")
            await self._inner.aclose()  # the pool does not know this connection yet, and would leak it
            raise
        self._backend.handshaking = False
        tls = stream.get_extra_info("ssl_object")
        if tls is not None:
            self._backend.tls_version = tls.version() or ""
            self._backend.certificate = tls.getpeercert() or {}
        return _Stream(stream, self._backend, self._attempt)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _tls_words(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {(cause.reason or 'handshake failed').replace('_', ' ').lower()}"
    return "TLS: the connection was closed during the handshake"


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens every connection of a run, and only to addresses that the guard has checked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = httpcore2.AnyIOBackend()
        self.handshaking = False
        self.tls_version = ""
        self.certificate: dict[str, Any] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        attempt = _Attempt(self._guard.run_key, host, port)
        try:
            addresses = await self._guard.check(host, port)
        except AddressRefused as error:
            attempt.ended("refused")
            raise Fault(FaultKind.REFUSED, str(error)) from error
        except OSError as error:
            attempt.ended("unreachable")
            if is_ours(error):
                raise Fault(FaultKind.OURS, f"the name {host} could not be looked up from here") from error
            raise Fault(FaultKind.NAME, f"the name {host} does not resolve") from error

        async def connect(address: str) -> httpcore2.AsyncNetworkStream:
            return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

        attempt.address = addresses[0]
        try:
            attempt.address, stream = await first_to_connect(addresses, connect, lambda late: late.aclose())
        except httpcore2.ConnectError as error:
            failure = error
        except BaseException:
            attempt.ended("stopped")
            raise
        else:
            return _Stream(stream, self, attempt)
        attempt.ended("unreachable")
        words = f"{_connect_words(failure)} ({host} port {port})"
        if is_ours(failure):
            raise Fault(FaultKind.OURS, f"no connection can be opened from here: {words}") from failure
        raise Fault(FaultKind.CONNECT, words) from failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise Fault(FaultKind.REFUSED, "address not allowed: a socket in the file system")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _connect_words(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return "connection refused: nothing listens there"
        if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
            return os.strerror(error.errno).lower()  # asyncio's own words hold the address in place of the reason
        error = error.__cause__ or error.__context__
    return "no connection"
