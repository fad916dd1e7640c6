"""Write the API's description, docs/openapi.json; or with --check say whether it is as the code has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from ninja.responses import NinjaJSONEncoder

from dashboard.api.urls import api

PLACE = Path(settings.BASE_DIR) / "docs" / "openapi.json"


class Command(BaseCommand):
    help = "Write the API's OpenAPI document to docs/openapi.json."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail when it differs")

    def handle(self, *args: Any, **options: Any) -> None:
        text = json.dumps(api.get_openapi_schema(), indent=2, ensure_ascii=False, cls=NinjaJSONEncoder) + "\n"
        if not options["check"]:
            PLACE.write_text(text, encoding="utf-8")
            self.stdout.write(f"Wrote {PLACE}.")
        elif not PLACE.exists() or PLACE.read_text(encoding="utf-8") != text:
            raise CommandError("docs/openapi.json is not what the code says. Run “manage.py openapi” and commit it.")
