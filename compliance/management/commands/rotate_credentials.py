"""`rotate_credentials`: seal credentials and seeds of second factors with the newest key, while the system runs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from compliance.tenancy.scope import Actor
from compliance.vault.encryption import Unreadable
from compliance.vault.rotation import Rotation, rotate


class Command(BaseCommand):
    help = "Encrypt with the first key of ASSAY_VAULT_KEYS what the others encrypted. Stop and repeat it as you like."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--batch", type=int, default=100, help="rows in one transaction (100)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1:
            raise CommandError("--batch must be 1 or more.")
        try:
            done = rotate(by=Actor.system("key rotation"), batch=options["batch"], on_progress=self._print_progress)
        except Unreadable as error:
            raise CommandError(f"{error}.") from None
        if done.unreadable:
            raise CommandError(
                f"{done.resealed} encrypted anew; {done.unreadable} that none of the keys opens. Put the missing key"
                " back into ASSAY_VAULT_KEYS and repeat this, or have those secrets entered anew."
            )
        self.stdout.write(f"{done.resealed} encrypted anew; everything is under the newest key.")

    def _print_progress(self, rotation: Rotation) -> None:
        self.stdout.write(f"{rotation.resealed} encrypted anew so far")
