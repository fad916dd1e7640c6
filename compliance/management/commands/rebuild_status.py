"""`rebuild_status`: derive every agent's status from the record again, and say what differed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from compliance.runs.status import rebuild_statuses
from compliance.tenancy.scope import Actor


class Command(BaseCommand):
    help = "Compare each agent's stored status with its runs, and mend it. Exit code 1 when --check finds a difference."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="only say what differs")

    def handle(self, *args: Any, **options: Any) -> None:
        differences = rebuild_statuses(mend=not options["check"], by=Actor.system("command line"))
        for agent_url, stored, derived in differences:
            self.stdout.write(f"{agent_url}\n  stored:  {_words(stored)}\n  by runs: {_words(derived)}")
        if not differences:
            self.stdout.write("Every stored status equals what the runs say.")
        elif options["check"]:
            self.stdout.write(f"{len(differences)} differ.")
            raise SystemExit(1)
        else:
            self.stdout.write(f"{len(differences)} differed and were mended.")


def _words(status: dict[str, Any] | None) -> str:
    if not status or status.get("status") is None:
        return "no status"
    return ", ".join(f"{name} {value}" for name, value in status.items())
