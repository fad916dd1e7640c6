"""`publish_suites`: make the suites that this version of the engines carries available to every organization."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from compliance.suites.actions import publish_engine_suites
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor


class Command(BaseCommand):
    help = "Publish the engines' suites. Run it after every migrate; repeating it changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            versions = publish_engine_suites(by=Actor.system("command line"))
        except Refused as refusal:
            raise CommandError(str(refusal)) from None
        if options["verbosity"]:
            for version in versions:
                self.stdout.write(f"{version.suite.slug} {version.version} is published.")
