"""Publishing: the engines' suites as rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.db import transaction

from compliance.engines import all_suites
from compliance.engines.suites import SuiteSpec
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


def publish_engine_suites(*, by: Actor) -> list[SuiteVersion]:
    """Publish every suite that the engines carry; safe to repeat."""
    return [
        publish_suite(
            slug=suite.slug,
            title=suite.title,
            description=suite.description,
            version=suite.version,
            engine=suite.engine,
            definition=_definition(suite),
            by=by,
        )
        for suite in all_suites()
    ]


def _definition(suite: SuiteSpec) -> dict[str, Any]:
    # What a past run was judged by stays readable for ever, also when the engine's code has moved on.
    return {
        "protocols": list(suite.protocols),
        "tracks": json.loads(json.dumps([asdict(track) for track in suite.tracks])),
        "options": {option.key: option.default for option in suite.options},
        **({} if suite.full else {"full": False}),
        **({"requires": suite.requires} if suite.requires else {}),
    }
