"""`engines`: what this machine can run, and what is missing for the rest. Needs no database."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from compliance.engines import suites_of
from compliance.suites.health import health_here
from compliance.suites.models import EngineHealth


class Command(BaseCommand):
    help = "List the engines of this machine: version, whether it can run and why not, runtimes, memory, suites."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        engines = [_described(row) for row in health_here()]
        if options["json"]:
            self.stdout.write(json.dumps(engines, indent=2))
            return
        for engine in engines:
            state = "available" if engine["available"] else f"not available: {engine['reason']}"
            self.stdout.write(f"{engine['engine']} {engine['version'] or '(version unknown)'}: {state}")
            runtime = ", ".join(f"{name} {version}" for name, version in engine["runtime"].items())
            memory = f"{engine['memory_mb']} MiB a run" if engine["memory_mb"] else "runs inside the worker"
            self.stdout.write(f"  suites: {engine['suites']}; memory: {memory}; runtimes: {runtime or 'none named'}")


def _described(row: EngineHealth) -> dict[str, Any]:
    return {
        "engine": row.engine,
        "version": row.version,
        "available": row.available,
        "reason": row.reason,
        "runtime": row.runtime,
        "memory_mb": row.memory_mb,
        "suites": len(suites_of(row.engine)),
    }
