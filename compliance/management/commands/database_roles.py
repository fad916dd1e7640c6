"""`database_roles`: print the SQL that makes the three database roles, for a superuser to run once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from compliance.tenancy.database_roles import database_sql, roles_sql


class Command(BaseCommand):
    help = "Print the SQL for the roles owner, app and staff. Pipe it to psql as a superuser; set passwords yourself."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("-- Once for the server:")
        self.stdout.write(roles_sql())
        self.stdout.write("-- In Assay's database, which assay_owner owns:")
        self.stdout.write(database_sql())
