"""`migrate`, as the owner role: the app role that serves has no right to change tables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as MigrateCommand
from django.db import connections
from django.db.migrations.loader import MigrationLoader

_ANOTHER_VERSION = """
This database was made by another version of Assay: it has the migrations {names},
which this version does not know. It is left as it is.

If that version was from before 0.1.0, nothing can be carried over. For `make run`, delete its data folder
(.data, or what DATA_DIR names) and start again. On a server of your own, drop the database, create it anew, and run
this again (docs/operations.md). If it was a later version, go on with that one, or restore the backup from before the
upgrade."""


class Command(MigrateCommand):
    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        loader = MigrationLoader(connections[options["database"]])
        unknown = sorted(
            name
            for app, name in loader.applied_migrations
            if app == "compliance" and (app, name) not in loader.disk_migrations
        )
        if unknown:
            raise CommandError(_ANOTHER_VERSION.format(names=", ".join(unknown)))
        super().handle(*args, **options)
