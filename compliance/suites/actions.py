"""Publishing: the engines' suites as rows."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import transaction

from compliance.engines import engine_names, suites_of
from compliance.engines.catalog import SuiteSpec
from compliance.suites.models import Suite, SuiteVersion
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, system_scope

_VERSION = re.compile(r"[-a-zA-Z0-9._+]*")
_SLUG = re.compile(r"[-a-zA-Z0-9_]{1,100}")


@dataclass(slots=True)
class Publication:
    """What came of publishing: one suite that is refused does not hold up the others."""

    published: list[SuiteVersion] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # the engine, and why


def publish_engine_suites(*, by: Actor) -> Publication:
    """Publish every suite that the engines here carry; safe to repeat.

    What an engine no longer carries is no longer offered, and stays readable. An engine that cannot run here, or
    carries nothing, has said nothing about its suites: they stay as they are.
    """
    outcome = Publication()
    with system_scope(by=by, reason="publish the engines' suites"):
        for engine in engine_names():
            suites = suites_of(engine)
            if suites:
                gone = Suite.objects.filter(current_version__engine=engine)
                gone.exclude(slug__in=[suite.slug for suite in suites]).update(current_version=None)
            for suite in suites:
                try:
                    _check(suite)
                    version = publish(
                        slug=suite.slug,
                        title=suite.title,
                        description=suite.description,
                        version=suite.version,
                        engine=engine,
                        definition=definition_of(suite),
                    )
                except Refused as refusal:
                    outcome.refused.append((engine, str(refusal)))
                else:
                    outcome.published.append(version)
    return outcome


@transaction.atomic
def publish(
    *, slug: str, title: str, description: str, version: str, engine: str, definition: dict[str, Any]
) -> SuiteVersion:
    """Publish a version and make it the suite's current one; publishing the same again changes nothing.

    Needs system_scope. Raises Refused when the version exists with another definition, because a published version
    never changes, and when another engine has published a suite of this name.
    """
    suite, _ = Suite.objects.select_for_update().get_or_create(
        slug=slug, defaults={"title": title, "description": description}
    )
    taken = suite.versions.exclude(engine=engine).values_list("engine", flat=True).first()
    if taken is not None:
        raise Refused(f"The suite “{slug}” is the engine {taken}'s. Give the one of {engine} another name.")
    published, created = SuiteVersion.objects.get_or_create(
        suite=suite, version=version, defaults={"engine": engine, "definition": definition}
    )
    if not created and _checks(published.definition) != _checks(definition):
        raise Refused(f"{slug} {version} is published with other checks. Give the changed suite a new version.")
    if (suite.title, suite.description, suite.current_version_id) != (title, description, published.pk):
        suite.title, suite.description, suite.current_version = title, description, published
        suite.save(update_fields=["title", "description", "current_version"])
    return published


def _checks(definition: dict[str, Any]) -> dict[str, Any]:
    """What a version is made of; how its options are worded is not."""
    return {key: value for key, value in definition.items() if key != "option_words"}


def _check(suite: SuiteSpec) -> None:
    """What an engine calls a suite must be one that the tables and the pages can take. Raises Refused."""
    if isinstance(suite.version, str) and not _VERSION.fullmatch(suite.version):
        raise Refused(f"A version of a suite of {suite.engine} has characters that an address cannot have.")
    if not isinstance(suite.slug, str) or not _SLUG.fullmatch(suite.slug):
        raise Refused(f"A suite of {suite.engine} has a name that is no slug of at most 100 characters.")
    for what, value, at_most in (("version", suite.version, 40), ("title", suite.title, 150)):
        if not isinstance(value, str) or not 0 < len(value) <= at_most:
            raise Refused(f"The suite “{suite.slug}” needs a {what} of at most {at_most} characters.")
    keys = suite.scenario_keys()
    if not keys or len(keys) != len(set(keys)):
        raise Refused(f"The suite “{suite.slug}” needs scenarios, each with a key of its own.")


def definition_of(suite: SuiteSpec) -> dict[str, Any]:
    """The suite as it is published. Raises Refused for one that is not JSON."""
    # What a past run was judged by stays readable for ever, also when the engine's code has moved on.
    words = {option.key: [option.title, option.description] for option in suite.options}
    definition = {
        "protocols": list(suite.protocols),
        "tracks": [asdict(track) for track in suite.tracks],
        "options": {option.key: option.default for option in suite.options},
        **({"option_words": words} if words else {}),
        **({} if suite.full else {"full": False}),
        **({"requires": suite.requires} if suite.requires else {}),
    }
    try:
        plain: dict[str, Any] = json.loads(json.dumps(definition, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Refused(f"The suite “{suite.slug}” cannot be written down as JSON ({error}).") from None
    return plain
