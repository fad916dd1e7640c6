"""`publish_suites`: make the suites that the engines here carry available to every organization."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from compliance.engines import is_own
from compliance.suites.actions import publish_engine_suites
from compliance.tenancy.scope import Actor


class Command(BaseCommand):
    help = "Publish the engines' suites. Run it after every migrate; repeating it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        outcome = publish_engine_suites(by=Actor.system("command line"))
        if options["verbosity"]:
            for version in outcome.published:
                self.stdout.write(f"{version.suite.slug} {version.version} is published.")
        for _, reason in outcome.refused:
            self.stderr.write(reason)
        # Another package's mistake must not keep this program from starting; one of ours must not go unseen.
        if any(is_own(engine) for engine, _ in outcome.refused):
            raise CommandError("Not every suite could be published.")
