"""Runs the official AdCP storyboard runner against an agent, and says what came of it.

The runner decides what is tested and the verdict of each step. This module gives it a bounded process, a way
out through the egress guard and a credential, and tells apart what the agent did from what broke here.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compliance.engines.catalog import SuiteSpec
from compliance.engines.contract import BEGIN_AT, Credential, Health, OnStep, Target
from compliance.engines.http.egress import AddressRefused, Guard, Resolve, refusal, system_resolve
from compliance.engines.http.proxy import EgressProxy, ProxyLimits, egress_proxy
from compliance.engines.http.redaction import Redactor
from compliance.engines.process.node_runtime import RuntimeMissing, node, node_version, package
from compliance.engines.process.runner import Finished, ProcessLimits, SupervisorLost, run_process, scratch_folder
from compliance.engines.reports.model import Report
from compliance.engines.suites.adcp.catalog import FULL, NAME, CatalogueUnreadable, make_suites, part_of, read_catalogue
from compliance.engines.suites.adcp.outcome import RunnerOutput
from compliance.engines.suites.adcp.prepared import NODE_FLAGS, PACKAGE, folder_of, link_compiled, parsed_storyboards
from compliance.engines.suites.adcp.reporting import report_of

log = logging.getLogger(__name__)

ADAPTER_VERSION = "1.0"

_DRIVER = Path(__file__).with_name("driver.cjs")
_OUTPUT_BYTES = 64 * 1024 * 1024
_MARGIN_SECONDS = 1.0  # before the deadline, for the runner to end by itself and say how far it came


class AdcpEngine:
    name = NAME
    memory_mb = 512  # the runner's tree peaks at 212 to 326 MiB with the package's example agents

    def __init__(
        self,
        *,
        resolve: Resolve = system_resolve,
        environment: dict[str, str] | None = None,
        prepared: Path | None = None,
    ) -> None:
        """environment: added to what the runner's process sees, such as NODE_EXTRA_CA_CERTS.

        prepared: what prepare() made, when that is not where scripts/install puts it.
        """
        self._resolve = resolve
        self._environment = environment or {}
        self._prepared = prepared

    @property
    def version(self) -> str:
        try:
            return f"{ADAPTER_VERSION}+{package(PACKAGE).version}"
        except RuntimeMissing:
            return ADAPTER_VERSION

    def health(self) -> Health:
        try:
            node()
            sdk = package(PACKAGE)
            runtime = {"node": node_version(), PACKAGE: sdk.version}
        except RuntimeMissing as missing:
            return Health(False, str(missing))
        if not (sdk.path / "compliance" / "cache").is_dir():
            return Health(False, f"The npm package {PACKAGE} has no storyboards. Run scripts/install.")
        return Health(True, runtime=runtime)

    def suites(self) -> Sequence[SuiteSpec]:
        if not self.health().available:
            return ()
        try:
            sdk = package(PACKAGE)
            return make_suites(read_catalogue(node(), sdk.path), sdk.version)
        except CatalogueUnreadable as unreadable:
            log.error("%s", unreadable)
            return ()

    async def run(self, target: Target, *, on_step: OnStep | None = None) -> Report:
        started = time.monotonic()
        redactor = Redactor(_secrets(target.credential), target.limits.evidence_bytes)
        output = RunnerOutput(lambda text: redactor.text(text)[:300], on_step)
        health, harness_error, refused = self.health(), "", False
        finished: Finished | None = None
        proxy: EgressProxy | None = None
        guard = Guard(target.allow, self._resolve)
        try:
            config = self._config(target, allow_http=await _is_local(guard, target.url))
            if not health.available:
                raise RuntimeMissing(health.reason)
            async with egress_proxy(
                guard, run_key=target.run_key, limits=ProxyLimits(target.deadline + _MARGIN_SECONDS)
            ) as proxy:
                redactor = Redactor([*_secrets(target.credential), proxy.password], target.limits.evidence_bytes)
                finished = await self._run_driver(target, config, proxy, output)
        except AddressRefused as error:
            refused, harness_error = True, f"Assay does not test this address ({error})"
        except (RuntimeMissing, LookupError) as error:
            harness_error = str(error)
        except (OSError, SupervisorLost) as error:
            log.error("The AdCP runner could not be run: %s", type(error).__name__)
            harness_error = f"The official runner could not be run ({type(error).__name__})"
        return report_of(
            target,
            output,
            redactor,
            engine=(self.name, self.version),
            runtime=dict(health.runtime),
            full=target.suite == FULL and not _chosen(target),
            finished=finished,
            proxy=proxy,
            harness_error=harness_error,
            refused=refused,
            seconds=time.monotonic() - started,
        )

    def _config(self, target: Target, *, allow_http: bool) -> dict[str, Any]:
        """What driver.cjs is asked for. Raises LookupError for a suite that is not ours."""
        part = part_of(target.suite)
        auth, header = _as_runner_takes_it(target.credential)
        return {
            "sdk": str(package(PACKAGE).path),
            "parsed": parsed_storyboards(self._prepared_folder()),
            "url": target.url,
            "protocol": target.protocol if target.protocol in ("mcp", "a2a") else "",
            "bundle": part.bundle,
            "storyboard": part.storyboard,
            "chosen": _chosen(target),
            "begin_at": str(target.options.get(BEGIN_AT, "")).rpartition("/")[0],
            "auth": auth,
            "header": header,
            "secrets": _secrets(target.credential),
            "allow_http": allow_http,
            "timeout_ms": int(max(target.deadline - _MARGIN_SECONDS, 1) * 1000),
            "cap": target.limits.evidence_bytes * 2,
            "all_evidence": target.all_evidence,
        }

    def _prepared_folder(self) -> Path:
        return self._prepared or folder_of(package(PACKAGE).path)

    async def _run_driver(
        self, target: Target, config: dict[str, Any], proxy: EgressProxy, output: RunnerOutput
    ) -> Finished:
        limits = ProcessLimits(
            seconds=target.deadline, memory_mb=self.memory_mb, output_bytes=_OUTPUT_BYTES, processes=4
        )
        with scratch_folder() as folder:
            return await run_process(
                [os.fspath(node()), *NODE_FLAGS, os.fspath(_DRIVER)],
                limits=limits,
                env={**proxy.environment(), **link_compiled(self._prepared_folder(), folder), **self._environment},
                folder=folder,
                stdin=json.dumps(config).encode(),
                on_line=output.line,
            )


def _chosen(target: Target) -> list[str]:
    return [str(key) for key in target.options.get("scenarios") or ()]


def _secrets(credential: Credential | None) -> list[str]:
    if credential is None:
        return []
    alone = credential.bearer_token or (credential.value.partition(" ")[2] if _basic(credential) else "")
    return [
        secret for secret in (credential.value, alone, *(_basic(credential) or ())[1:], *credential.secrets) if secret
    ]


def _basic(credential: Credential) -> tuple[str, str] | None:
    """User name and password of a Basic credential; None for other kinds."""
    scheme, _, encoded = credential.value.partition(" ")
    if credential.header.lower() != "authorization" or scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon and user and password else None


def _as_runner_takes_it(credential: Credential | None) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """The credential as one of the runner's own kinds, or as a header that is added to what it sends."""
    if credential is None:
        return None, None
    if token := credential.bearer_token:
        return {"type": "bearer", "token": token}, None
    if basic := _basic(credential):
        return {"type": "basic", "username": basic[0], "password": basic[1]}, None
    return None, {"name": credential.header, "value": credential.value}


async def _is_local(guard: Guard, url: str) -> bool:
    """Whether the runner has to be told that plain HTTP and private addresses are meant.

    Raises AddressRefused for an address that Assay's own rules forbid.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        addresses = await guard.check(parts.hostname or "", parts.port or (443 if secure else 80))
    except OSError:
        return not secure  # no such name: the runner will find that out, and it is the agent's fault
    return not secure or any(refusal(ipaddress.ip_address(address)) for address in addresses)
