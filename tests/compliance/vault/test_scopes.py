"""What each scope reads and writes of the vault in plain SQL: policies and rights, without any filter of ours (V5)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from compliance.models import Organization, User
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from compliance.vault.use import use_credential
from tests.compliance.vault.conftest import attempt, make_credential, make_grant
from tests.conftest import make_context

TABLES = ("credentials", "credential_secrets", "credential_grants", "credential_uses")
SCOPES: dict[str, Callable[[Organization], AbstractContextManager[Any]]] = {
    "none": lambda other: transaction.atomic(),
    "another organization": lambda other: organization_scope(other.id),
    "platform": lambda other: platform_scope(),
    "staff": lambda other: system_scope(by=Actor.system("tests"), reason="try"),
}


@pytest.fixture
def used(organization: Organization, alice: User) -> dict[str, Any]:
    """An organization with a row in each table, and what names them."""
    context = make_context(organization, "https://kept.example/mcp")
    credential = make_credential(organization, alice)
    grant = make_grant(credential, context, alice)
    assert use_credential(attempt(organization, agent_url="https://kept.example/mcp")) is not None
    return {"o": organization.id, "c": credential.pk, "g": grant.pk, "x": context.pk, "n": uuid4()}


def done(statement: str, parameters: dict[str, Any]) -> int:
    """How many rows a statement reached; none when it is refused."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)
    except DatabaseError:
        return 0


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("table", TABLES)
def test_no_scope_but_ones_own_reads_the_vault_and_staff_reads_no_secret(
    used: dict[str, Any], other_organization: Organization, table: str, scope: str
) -> None:
    with SCOPES[scope](other_organization):
        expected = int(scope == "staff" and table != "credential_secrets")
        assert done(f"SELECT * FROM {table}", used) == expected
    with organization_scope(used["o"]):
        assert done(f"SELECT * FROM {table}", used) == 1


GRANT = """
    INSERT INTO credential_grants (id, organization_id, credential_id, for_owner_tests, for_monitors, for_heartbeats,
        context_ids, created_at, expires_at, created_by, revoked_by)
    VALUES (%(n)s, %(o)s, %(c)s, true, true, true, ARRAY[%(x)s]::uuid[], now(), now() + interval '1 day', 'Mallory', '')
"""
CREDENTIAL = """
    INSERT INTO credentials (id, organization_id, name, kind, parameters, hint, version, created_at, created_by,
        replaced_at, deleted_by)
    VALUES (%(n)s, %(o)s, 'Another', 'bearer', '{}', '', 1, now(), 'Mallory', now(), '')
"""
USE = """
    INSERT INTO credential_uses (id, organization_id, at, sent_to, result, reason, credential_id, credential_name,
        credential_version, agent_url, triggered_by, actor_kind, actor_id, actor_name, executor_name, job_id,
        run_id)
    VALUES (%(n)s, %(o)s, now(), 'agent', 'ok', '', %(c)s, 'n', 1, 'u', 'owner_test', 'user', '1', 'Mallory', '',
        %(n)s, %(n)s)
"""


@pytest.mark.parametrize("scope", SCOPES)
def test_no_scope_but_ones_own_writes_into_the_vault(
    used: dict[str, Any], other_organization: Organization, scope: str
) -> None:
    changes = [
        "UPDATE credentials SET parameters = '{}' WHERE id = %(c)s",
        "UPDATE credentials SET name = 'Mine'",
        "UPDATE credential_secrets SET sealed = 'x' WHERE credential_id = %(c)s",
        "UPDATE credential_grants SET revoked_at = now() WHERE id = %(g)s",
        "DELETE FROM credential_secrets",
        CREDENTIAL,
        GRANT,
        USE,
    ]
    with SCOPES[scope](other_organization):
        assert [done(change, used | {"n": uuid4()}) for change in changes] == [0] * len(changes)
    # And each of them is a statement that does something where it may.
    with organization_scope(used["o"]):
        assert [done(change, used | {"n": uuid4()}) for change in changes] == [1] * len(changes)


def test_not_even_ones_own_scope_deletes_credentials_grants_or_uses(used: dict[str, Any]) -> None:
    with organization_scope(used["o"]):
        for table in ("credentials", "credential_grants", "credential_uses"):
            assert done(f"DELETE FROM {table}", used) == 0
            assert done(f"SELECT * FROM {table}", used) == 1


def test_a_grant_of_ones_own_for_anothers_credential_or_agent_is_refused(
    used: dict[str, Any], other_organization: Organization, charlie: User
) -> None:
    """The keys hold the organization too: what is in one scope cannot hang on what is in another."""
    mine = make_context(other_organization, "https://mine.example/mcp")
    credential = make_credential(other_organization, charlie)
    own = {"o": other_organization.id, "c": credential.pk, "x": mine.pk}
    with organization_scope(other_organization.id):
        assert done(GRANT, own | {"n": uuid4(), "c": used["c"]}) == 0
        assert done(GRANT, own | {"n": uuid4(), "x": used["x"]}) == 0
        assert done(GRANT, own | {"n": uuid4()}) == 1
