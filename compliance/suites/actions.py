"""Publishing: the engines' suites as rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, system_scope


def publish_suite(
    *, slug: str, title: str, description: str, version: str, engine: str, definition: dict[str, Any], by: Actor
) -> SuiteVersion:
    """Publish a version and make it the suite's current one; publishing the same again changes nothing.

    Raises Refused when the version exists with another definition: a published version never changes.
    """
    with system_scope(by=by, reason="publish a suite", what=f"{slug} {version}"), transaction.atomic():
        suite, _ = Suite.objects.select_for_update().get_or_create(
            slug=slug, defaults={"title": title, "description": description}
        )
        published, created = SuiteVersion.objects.get_or_create(
            suite=suite, version=version, defaults={"engine": engine, "definition": definition}
        )
        if not created and (published.engine, published.definition) != (engine, definition):
            raise Refused(f"{slug} {version} is published with other checks. Give the changed suite a new version.")
        suite.title, suite.description, suite.current_version = title, description, published
        suite.save(update_fields=["title", "description", "current_version"])
        return published


def publish_all(suites: Iterable[dict[str, Any]], *, by: Actor) -> list[SuiteVersion]:
    """publish_suite for each of `suites` (its keyword arguments as dictionaries)."""
    return [publish_suite(**suite, by=by) for suite in suites]
