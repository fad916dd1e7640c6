"""Schemas and kinds of fields that more than one feature has.

Schemas of answers read their values from model instances, by name or by `validation_alias`; what is computed has a
resolver. Their context has the request, whose organization is the reader.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from ninja import Schema
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.types import FiniteFloat
from pydantic_core import PydanticCustomError

from compliance.engines.contract import engine_options
from compliance.jobs.models import CredentialChoice
from compliance.registry.models import POOL_LENGTH, ExecutorKind, Placement


def _storable(text: str) -> str:
    # PostgreSQL keeps neither NUL nor halves of surrogate pairs.
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("The text has characters that cannot be kept.")
    return text


# RFC 3339, which wants an offset. Without the check a number would be taken for seconds since 1970.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _written_as_instant(value: Any) -> Any:
    if not isinstance(value, datetime) and not (isinstance(value, str) and _INSTANT.fullmatch(value)):
        raise PydanticCustomError(
            "instant",
            "Write the time as RFC 3339 with an offset, such as 2026-11-21T10:00:00Z or 2026-11-21T11:00:00+01:00.",
        )
    return value


def _in_utc(instant: datetime) -> datetime:
    # One offset for every query; the first and last hours of time have no equal in UTC.
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("There is no such time in UTC.") from None


def one_of(choices: str) -> WrapValidator:
    """For a field of several types: a value of none of them is one mistake, which lists the choices."""

    def check(value: Any, any_kind: ValidatorFunctionWrapHandler) -> Any:
        try:
            return any_kind(value)
        except ValidationError:
            raise PydanticCustomError("one_of", "Input should be {choices}", {"choices": choices}) from None

    return WrapValidator(check)


Instant = Annotated[AwareDatetime, BeforeValidator(_written_as_instant), AfterValidator(_in_utc)]
Text = Annotated[StrictStr, AfterValidator(_storable)]
Name = Annotated[Text, Field(min_length=1, max_length=100)]
Small = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
# Which of these types an option takes, its suite says: GET /suites/{slug}.
OptionValue = Annotated[
    StrictBool | Small | FiniteFloat | Annotated[Text, Field(max_length=2000)] | list[Text],
    one_of("true, false, a number, a text of at most 2000 characters or a list of texts"),
]
Options = Annotated[
    dict[Annotated[Text, Field(max_length=100)], OptionValue],
    Field(description="The suite's options by key; what is left out stays as the suite has it.", max_length=50),
]
Scenarios = Annotated[
    list[Annotated[Text, Field(max_length=300)]],
    Field(description="Only these scenarios, by key; none: all of them.", max_length=1000),
]
Credential = Annotated[
    Literal["automatic", "none"] | UUID,
    one_of("“automatic”, “none” or the id of a credential"),
    Field(description="`automatic`: the one that is granted; `none`; or the id of one.", examples=["automatic"]),
]


class In(Schema):
    """Input: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class ActorOut(Schema):
    """Who did it, as they were called then."""

    kind: str = Field(description="`user`, `api_key`, `monitor` or `system`.", examples=["user"])
    name: str = Field(examples=["Alice Owner"])


class WithActor(Schema):
    """Base of what somebody caused: its row keeps their kind and their name."""

    actor: ActorOut

    @staticmethod
    def resolve_actor(row: Any) -> dict[str, str]:
        return {"kind": row.actor_kind, "name": row.actor_name}


class SuiteRef(Schema):
    """A version of a suite."""

    slug: str = Field(examples=["baseline"])
    version: str = Field(examples=["1.0"])


class OfSuiteVersion(Schema):
    """Base of what is made of one version of a suite."""

    suite: SuiteRef

    @staticmethod
    def resolve_suite(row: Any) -> dict[str, str]:
        return {"slug": row.suite_version.suite.slug, "version": row.suite_version.version}


class PlacementIn(In):
    """Where it is to run: by one private runner, by any of a pool, or, when neither is named, by Assay's workers."""

    runner_id: UUID | None = None
    pool: Annotated[Text, Field(max_length=POOL_LENGTH)] = ""

    @model_validator(mode="after")
    def name_one(self) -> PlacementIn:
        if self.runner_id and self.pool:
            raise ValueError("Name a runner or a pool, not both.")
        return self

    def placement(self) -> Placement:
        return Placement(self.runner_id, self.pool)


class PlacementOut(Schema):
    """Where it runs."""

    kind: ExecutorKind
    runner_id: UUID | None
    pool: str


def credential_choice(credential: str | UUID) -> UUID | CredentialChoice:
    """The choice as the actions take it."""
    return credential if isinstance(credential, UUID) else CredentialChoice(credential)


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that have a field of their own."""
    return {key: value for key, value in engine_options(options).items() if key != "scenarios"}


def page_url(name: str, context: dict[str, Any], key: UUID) -> str:
    """The URL of a dashboard page of the reader's organization."""
    return settings.SITE_URL + _pattern(name, context["request"].organization.slug).format(key)


_ANY_KEY = UUID(int=0)


@lru_cache(maxsize=1000)
def _pattern(name: str, slug: str) -> str:
    # Reversed once: a list has as many addresses as rows.
    return reverse(name, args=[slug, _ANY_KEY]).replace(str(_ANY_KEY), "{}")
