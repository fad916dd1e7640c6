"""The OpenAPI document: it is committed, and the API does what it says, whatever is sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import strategies
from ninja import Schema
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from compliance.models import Organization, User
from compliance.tenancy.ids import uuid7
from dashboard.api.urls import api
from dashboard.management.commands import openapi
from tests.dashboard.api.conftest import Things, make_key
from tests.dashboard.api.test_access import OPERATIONS

# What an organization's keys may call; a runner's operations are tried where they are made.
SCHEMA = schemathesis.openapi.from_dict(api.get_openapi_schema())
SCHEMA.app = get_wsgi_application()  # before the operations are read, which keep it
BY_ID = {result.ok().definition.raw["operationId"]: result.ok() for result in SCHEMA.get_all_operations()}
EXAMPLES = 8  # of each operation, in each of the two modes


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """A request's beginning and end close connections, here the test's own. Django's client does the same."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("kept_connection")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_answers_as_the_document_says(
    name: str, mode: GenerationMode, things: Things, organization: Organization, alice: User, settings: Any
) -> None:
    settings.API_RATE_PER_MINUTE = settings.API_FAILED_KEYS_PER_MINUTE = 1_000_000
    operation = BY_ID[name]
    headers = {"Authorization": f"Bearer {make_key(organization, alice)[1]}"}
    known = {"agent": things.context, "run": things.run, "monitor": things.monitor, "job": things.job}
    here = {parameter.name for parameter in operation.path_parameters} & known.keys()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        # What fails is shown as it was sent: making it smaller takes minutes.
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(data=strategies.data())
    def ask(data: Any) -> None:
        # Now on what is there, now on what is not: with ids at random nothing would ever be found.
        there = data.draw(strategies.sampled_from([True, True, False]))
        keys = {each: str(known[each].pk if there else uuid7()) for each in here}
        case = data.draw(operation.as_strategy(mode, path_parameters=keys or None))
        response = case.call(headers=headers)
        assert response.status_code < 500, response.text
        # A document cannot say which cron expressions, addresses and names of suites there are.
        case.validate_response(response, headers=headers, excluded_checks=[positive_data_acceptance])

    ask()


def test_the_committed_document_is_what_the_code_says() -> None:
    call_command("openapi", check=True)


def test_a_document_that_is_behind_the_code_is_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "PLACE", tmp_path / "openapi.json")
    with pytest.raises(CommandError, match="openapi"):
        call_command("openapi", check=True)
    call_command("openapi")
    call_command("openapi", check=True)


def test_no_two_kinds_of_things_have_one_name() -> None:
    """In the document the one would stand where the other is meant."""
    kinds: dict[str, set[str]] = {}
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("dashboard.api."):
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, Schema):
                    kinds.setdefault(kind.__name__, set()).add(kind.__module__)
    assert {name: where for name, where in kinds.items() if len(where) > 1} == {}


def test_the_document_is_served_to_anybody(client: Any) -> None:
    answer = client.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["paths"].keys() == api.get_openapi_schema()["paths"].keys()


def test_names_of_operations_are_stable_and_each_is_described() -> None:
    for operations in api.get_openapi_schema()["paths"].values():
        for operation in operations.values():
            assert operation["operationId"].isalnum()
            assert operation["summary"]
            key = "SignedBySource" if operation["operationId"] == "deliverEvent" else "BearerKey"
            assert operation["security"] == [{key: []}]
