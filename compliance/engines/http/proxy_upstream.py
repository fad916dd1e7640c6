"""The proxy's connections to the outside: each goes to an address that the egress guard has checked."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from compliance.engines.http.egress import AddressRefused, Connection
from compliance.engines.http.proxy_headers import Refusal, Route
from compliance.engines.http.racing import first_to_connect

if TYPE_CHECKING:
    from compliance.engines.http.proxy import EgressProxy

CHUNK = 64 * 1024  # bytes


class Stopped(Exception):
    """The connection's end in one word, which is its outcome."""


async def _close(opened: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    opened[1].close()


class Upstream:
    """One connection to the outside, or the attempt: opened, counted and written down."""

    def __init__(self, proxy: EgressProxy, route: Route) -> None:
        self.proxy = proxy
        self.route = route
        self.address = ""
        self.up = self.down = 0
        self.outcome = "stopped"  # until something better or worse is known
        self._started = time.monotonic()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect to an address that the guard has checked. Raises Refusal."""
        host, port = self.route.host, self.route.port
        try:
            async with asyncio.timeout(self.proxy.limits.connect_seconds):
                addresses = await self.proxy.guard.check(host, port)
        except AddressRefused as error:
            self.outcome = "refused"
            self.proxy.refusals[host, port] = str(error)
            raise Refusal(403, str(error), "destination_ip_prohibited") from error
        except OSError as error:
            self.outcome = "unreachable"
            raise Refusal(502, f"the name {host} could not be resolved", "dns_error") from error
        self.address = addresses[0]
        try:
            async with asyncio.timeout(self.proxy.limits.connect_seconds):
                self.address, opened = await first_to_connect(
                    addresses, lambda address: asyncio.open_connection(address, port), _close
                )
        except OSError as error:
            words = os.strerror(error.errno).lower() if error.errno else "it took too long"
            self.outcome = "unreachable"
            text = f"no connection to {host} port {port}: {words}"
            raise Refusal(502, text, "destination_unavailable") from error
        self.reader, self.writer = opened

    async def read(self) -> bytes:
        try:
            data = await self.reader.read(CHUNK)
        except OSError as error:
            raise Stopped("broken") from error
        self.down += len(data)
        self.proxy.spend(len(data))
        return data

    async def write(self, data: bytes) -> None:
        if not data or self.writer is None:
            return
        self.up += len(data)
        self.proxy.spend(len(data))
        self.writer.write(data)
        try:
            await self.writer.drain()
        except OSError as error:
            raise Stopped("broken") from error

    def close(self) -> None:
        if self.writer is not None and self.outcome == "ok":
            self.writer.close()
        elif self.writer is not None:
            self.writer.transport.abort()
        seconds = time.monotonic() - self._started
        host, port = self.route.host, self.route.port
        self.proxy.keep(Connection(host, port, self.address, self.up, self.down, seconds, self.outcome))
