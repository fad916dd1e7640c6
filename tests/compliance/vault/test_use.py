"""Using a credential: who may, what is written down, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from compliance.models import AgentContext, Credential, CredentialGrant, CredentialUse, Organization, Relation, User
from compliance.registry.actions import remove_context
from compliance.tenancy.actions import delete_organization
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from compliance.vault.actions import delete_credential, replace_secret, revoke_grant
from compliance.vault.models import UseFor, expired
from compliance.vault.use import CredentialRefused, granted, heartbeat_credentials, use_credential
from tests.compliance.vault.conftest import SECRET, attempt, make_credential, make_grant, uses_of
from tests.conftest import AGENT_URL, make_context


def refused(organization: Organization, **changes: Any) -> CredentialRefused:
    with pytest.raises(CredentialRefused) as caught:
        use_credential(attempt(organization, **changes))
    assert SECRET not in str(caught.value)
    return caught.value


def test_what_is_granted_for_the_agent_is_used_and_written_down(
    organization: Organization, credential: Credential, grant: CredentialGrant
) -> None:
    wanted = attempt(organization)
    used = use_credential(wanted)
    assert used is not None
    assert (used.header, used.value) == ("Authorization", f"Bearer {SECRET}")
    assert (used.organization_id, used.credential_id, used.name) == (organization.id, str(credential.pk), "Test key")
    [use] = uses_of(organization)
    assert (use.result, use.sent_to, use.reason) == ("ok", "agent", "")
    assert (use.credential_id, use.grant_id, use.credential_version) == (credential.pk, grant.pk, 1)
    assert (use.run_id, use.job_id, use.agent_url) == (wanted.run_id, wanted.job_id, AGENT_URL)
    assert (use.triggered_by, use.actor_name) == ("owner_test", "Alice Owner")


def test_without_any_grant_nothing_is_attempted(
    organization: Organization, context: AgentContext, credential: Credential
) -> None:
    assert use_credential(attempt(organization)) is None
    assert uses_of(organization) == []


def test_the_oldest_grant_decides_when_several_fit(
    organization: Organization, context: AgentContext, alice: User
) -> None:  # R8: owner tests and heartbeats choose alike
    first = make_credential(organization, alice, name="First")
    second = make_credential(organization, alice, name="Second")
    make_grant(second, context, alice)
    make_grant(first, context, alice)
    used = use_credential(attempt(organization))
    assert used is not None
    assert used.name == "Second"


class TestEachRefusalHasItsOwnReason:  # V4
    def test_not_granted(self, organization: Organization, context: AgentContext, credential: Credential) -> None:
        error = refused(organization, credential_id=credential.pk)
        assert error.result == "no_grant"

    def test_expired(self, organization: Organization, credential: Credential, context: AgentContext) -> None:
        expired_grant(credential, context)
        assert refused(organization, credential_id=credential.pk).result == "expired"
        # Nobody chose it, and still the attempt is on record.
        assert refused(organization).result == "expired"
        assert [use.result for use in uses_of(organization)] == ["expired", "expired"]

    def test_revoked(
        self, organization: Organization, credential: Credential, grant: CredentialGrant, alice: User
    ) -> None:
        revoke_grant(organization=organization, grant_id=grant.pk, by=alice)
        assert refused(organization, credential_id=credential.pk).result == "revoked"
        assert use_credential(attempt(organization)) is None

    def test_use_not_in_scope(
        self, organization: Organization, credential: Credential, context: AgentContext, alice: User
    ) -> None:
        make_grant(credential, context, alice, uses=["monitors"])
        error = refused(organization, credential_id=credential.pk)
        assert error.result == "use_scope"

    def test_agent_not_in_scope(
        self, organization: Organization, credential: Credential, context: AgentContext, alice: User
    ) -> None:
        make_grant(credential, make_context(organization, "https://another.example/"), alice)
        assert refused(organization, credential_id=credential.pk).result == "agent_scope"

    def test_deleted(
        self, organization: Organization, credential: Credential, grant: CredentialGrant, alice: User
    ) -> None:
        delete_credential(organization=organization, credential_id=credential.pk, by=alice)
        assert refused(organization, credential_id=credential.pk).result == "deleted"
        assert use_credential(attempt(organization)) is None

    def test_not_to_be_decrypted(
        self, organization: Organization, credential: Credential, grant: CredentialGrant, settings: Any
    ) -> None:
        settings.VAULT_KEYS = ["YW5vdGhlci1rZXktYW5vdGhlci1rZXktYW5vdGhlci0"]
        error = refused(organization)
        assert error.result == "unreadable"
        assert "Enter its secret anew" in error.reason

    def test_without_keys(
        self, organization: Organization, credential: Credential, grant: CredentialGrant, settings: Any
    ) -> None:
        settings.VAULT_KEYS = []
        assert "ASSAY_VAULT_KEYS" in refused(organization).reason

    def test_with_a_malformed_key(
        self, organization: Organization, credential: Credential, grant: CredentialGrant, settings: Any
    ) -> None:
        settings.VAULT_KEYS = [*settings.VAULT_KEYS, "malformed"]
        assert "Key 2 of ASSAY_VAULT_KEYS is not 32 bytes" in refused(organization).reason

    def test_each_is_on_record_with_the_run(
        self, organization: Organization, context: AgentContext, credential: Credential
    ) -> None:  # V2
        wanted = attempt(organization, credential_id=credential.pk)
        with pytest.raises(CredentialRefused):
            use_credential(wanted)
        [use] = uses_of(organization)
        assert (use.run_id, use.result) == (wanted.run_id, "no_grant")
        assert "not granted" in use.reason


def expired_grant(credential: Credential, context: AgentContext) -> CredentialGrant:
    """A grant whose time is over."""
    now = timezone.now()
    with organization_scope(credential.organization_id):
        return CredentialGrant.objects.create(
            organization_id=credential.organization_id,
            credential=credential,
            context_ids=[context.pk],
            created_at=now - timedelta(days=2),
            expires_at=now - timedelta(seconds=1),
            for_owner_tests=True,
            for_heartbeats=True,
        )


@pytest.mark.parametrize("garbage", [None, "", "2031-01-01", "infinity", 0, float("inf"), object()])
def test_an_expiry_that_cannot_be_read_counts_as_expired(garbage: Any) -> None:  # V4
    assert expired(garbage, timezone.now()) is True
    assert expired(timezone.now().replace(tzinfo=None, year=2400), timezone.now()) is True


def test_an_expiry_without_an_end_is_refused_by_the_database_and_counts_as_expired_without_that(
    world: Any, superuser: Any
) -> None:  # V4
    here = world()
    credential = here.credential()
    here.grant(credential)
    endless = "UPDATE credential_grants SET expires_at = 'infinity'"
    superuser.execute("ALTER TABLE credential_grants DISABLE TRIGGER guard_grant")
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            superuser.execute(endless)
        superuser.execute("ALTER TABLE credential_grants DROP CONSTRAINT grant_ends")
        superuser.execute(endless)
        assert refused(here.organization, credential_id=credential.pk).result == "expired"
    finally:
        superuser.execute("TRUNCATE credential_grants")
        superuser.execute(
            "ALTER TABLE credential_grants ADD CONSTRAINT grant_ends"
            " CHECK (isfinite(expires_at) AND expires_at > created_at)"
        )
        superuser.execute("ALTER TABLE credential_grants ENABLE TRIGGER guard_grant")


def test_a_live_grant_is_found_beside_one_that_has_expired(
    organization: Organization, credential: Credential, context: AgentContext, alice: User
) -> None:
    expired_grant(credential, context)
    make_grant(credential, context, alice)
    assert use_credential(attempt(organization)) is not None


class TestTheRecordComesFirst:  # V2
    def test_a_use_that_cannot_be_written_down_does_not_happen(self, world: Any, superuser: Any) -> None:
        here = world()
        here.grant(here.credential())
        superuser.execute("REVOKE INSERT ON credential_uses FROM assay_app")
        try:
            with pytest.raises(DatabaseError):
                use_credential(here.attempt())
        finally:
            superuser.execute("GRANT INSERT ON credential_uses TO assay_app")
        assert here.uses() == []

    def test_it_is_committed_when_the_secret_is_handed_out(self, world: Any, superuser: Any) -> None:
        here = world()
        here.grant(here.credential())
        assert use_credential(here.attempt()) is not None
        assert superuser.execute("SELECT count(*) FROM credential_uses").fetchone() == (1,)

    def test_it_is_refused_inside_a_transaction_whose_end_would_undo_the_record(self, world: Any) -> None:
        here = world()
        here.grant(here.credential())
        with organization_scope(here.organization.id), pytest.raises(RuntimeError):
            use_credential(here.attempt())


@pytest.mark.parametrize(
    "change", ["UPDATE credential_uses SET result = 'ok'", "DELETE FROM credential_uses", "TRUNCATE credential_uses"]
)
def test_the_record_of_uses_cannot_be_changed(
    organization: Organization, credential: Credential, grant: CredentialGrant, change: str
) -> None:  # V3
    use_credential(attempt(organization))
    for scope in (
        organization_scope(organization.id),
        system_scope(by=Actor.system("tests"), reason="try"),
    ):
        with scope, pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_even_their_owner_cannot_change_uses(db: None, superuser: Any) -> None:  # V3
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="insert-only"):
        superuser.execute("UPDATE credential_uses SET result = 'ok'")


class TestAGrantNeverChanges:  # V4
    @pytest.mark.parametrize(
        "change",
        [{"for_heartbeats": True}, {"expires_at": timezone.now() + timedelta(days=900)}, {"context_ids": []}],
    )
    def test_the_app_role_has_no_right_to(
        self, organization: Organization, credential: Credential, context: AgentContext, alice: User, change: Any
    ) -> None:
        grant = make_grant(credential, context, alice, uses=["owner_tests"])
        with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
            CredentialGrant.objects.filter(pk=grant.pk).update(**change)

    @pytest.mark.parametrize(
        "change", ["for_monitors = NOT for_monitors", "revoked_at = NULL", "expires_at = expires_at + interval '1 day'"]
    )
    def test_the_trigger_refuses_everybody(self, world: Any, superuser: Any, change: str) -> None:
        here = world()
        grant = here.grant(here.credential())
        revoke_grant(organization=here.organization, grant_id=grant.pk, by=here.alice)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="never changed"):
            superuser.execute(f"UPDATE credential_grants SET {change}")

    def test_nor_is_it_deleted(self, organization: Organization, grant: CredentialGrant) -> None:
        with organization_scope(organization.id), pytest.raises(DatabaseError), transaction.atomic():
            CredentialGrant.objects.filter(pk=grant.pk).delete()

    def test_it_names_agents_of_its_own_organization_only(
        self, organization: Organization, credential: Credential, other_context: AgentContext
    ) -> None:
        with (
            organization_scope(organization.id),
            pytest.raises(DatabaseError, match="its own organization"),
            transaction.atomic(),
        ):
            CredentialGrant.objects.create(
                organization_id=organization.id,
                credential=credential,
                context_ids=[other_context.pk],
                expires_at=timezone.now() + timedelta(days=1),
                for_owner_tests=True,
            )


def test_an_agent_that_was_removed_and_added_again_is_not_granted(
    organization: Organization, context: AgentContext, grant: CredentialGrant, alice: User
) -> None:
    remove_context(organization=organization, context_id=context.pk, by=alice)
    make_context(organization)
    assert use_credential(attempt(organization)) is None


class TestOtherOrganizations:  # V5
    def test_a_credential_of_another_is_not_there(
        self,
        organization: Organization,
        grant: CredentialGrant,
        credential: Credential,
        other_organization: Organization,
        other_context: AgentContext,
    ) -> None:
        assert use_credential(attempt(other_organization)) is None
        error = refused(other_organization, credential_id=credential.pk)
        assert (error.result, error.name) == ("deleted", "")
        assert uses_of(organization) == []

    def test_a_secret_does_not_hang_on_a_credential_of_another(
        self, credential: Credential, other_organization: Organization
    ) -> None:
        with (
            organization_scope(other_organization.id),
            pytest.raises(DatabaseError),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "INSERT INTO credential_secrets (credential_id, organization_id, version, sealed, sealed_token)"
                " VALUES (%s, %s, 9, '', '')",
                [credential.pk, other_organization.id],
            )

    def test_deleting_an_organization_leaves_no_credential(
        self, organization: Organization, grant: CredentialGrant, alice: User
    ) -> None:  # R11
        use_credential(attempt(organization))
        delete_organization(organization=organization, by=alice)
        with system_scope(by=Actor.system("tests"), reason="look"):
            assert Credential.objects.count() == CredentialGrant.objects.count() == 0
            assert CredentialUse.objects.count() == 1  # the record outlives it, unreachable
        with organization_scope(organization.id), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM credential_secrets")
            assert cursor.fetchone() == (0,)


class TestHeartbeats:  # V5
    def granted(self) -> dict[str, Any]:
        with platform_scope():
            return heartbeat_credentials([AGENT_URL])

    def verify(self, context: AgentContext) -> None:
        with system_scope(by=Actor.system("tests"), reason="arrange a verified owner"):
            AgentContext.objects.filter(pk=context.pk).update(relation=Relation.VERIFIED_OWNER)

    def test_the_verified_owners_grant_is_found(
        self, organization: Organization, context: AgentContext, credential: Credential, grant: CredentialGrant
    ) -> None:
        self.verify(context)
        assert self.granted() == {AGENT_URL: (organization.id, credential.pk)}
        wanted = attempt(organization, use=UseFor.HEARTBEATS, triggered_by="heartbeat", credential_id=credential.pk)
        assert use_credential(wanted) is not None

    def test_an_observers_grant_is_not_used(
        self, organization: Organization, credential: Credential, grant: CredentialGrant
    ) -> None:
        """A bogus credential of an observer would make somebody else's agent fail in public."""
        assert self.granted() == {}
        error = refused(organization, use=UseFor.HEARTBEATS, credential_id=credential.pk)
        assert error.result == "agent_scope"

    def test_a_grant_for_tests_is_none_for_heartbeats(
        self, organization: Organization, credential: Credential, context: AgentContext, alice: User
    ) -> None:
        self.verify(context)
        make_grant(credential, context, alice, uses=["owner_tests", "monitors"])
        assert self.granted() == {}
        assert refused(organization, use=UseFor.HEARTBEATS, credential_id=credential.pk).result == "use_scope"

    def test_a_revoked_one_is_not_found_and_an_expired_one_only_to_be_refused_on_record(
        self, organization: Organization, credential: Credential, context: AgentContext, alice: User
    ) -> None:
        self.verify(context)
        late = expired_grant(credential, context)
        assert self.granted() == {AGENT_URL: (organization.id, credential.pk)}
        assert refused(organization, use=UseFor.HEARTBEATS, credential_id=credential.pk).result == "expired"
        newer = make_credential(organization, alice, name="Newer")
        grant = make_grant(newer, context, alice)
        assert self.granted() == {AGENT_URL: (organization.id, newer.pk)}
        revoke_grant(organization=organization, grant_id=grant.pk, by=alice)
        revoke_grant(organization=organization, grant_id=late.pk, by=alice)
        assert self.granted() == {}

    def test_only_the_platform_may_ask(
        self,
        organization: Organization,
        context: AgentContext,
        grant: CredentialGrant,
        other_organization: Organization,
        other_context: AgentContext,
    ) -> None:
        self.verify(context)
        with organization_scope(other_organization.id):
            assert heartbeat_credentials([AGENT_URL]) == {}

    def test_the_platform_sees_nothing_else_of_the_vault(
        self, organization: Organization, grant: CredentialGrant
    ) -> None:
        use_credential(attempt(organization))
        with platform_scope():
            for table in ("credentials", "credential_secrets", "credential_grants", "credential_uses"):
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT count(*) FROM {table}")
                    assert cursor.fetchone() == (0,), table


def test_staff_cannot_read_a_secret(organization: Organization, credential: Credential) -> None:  # V1
    with (
        system_scope(by=Actor.system("tests"), reason="try"),
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT sealed FROM credential_secrets")


def test_granted_asks_for_the_use(
    organization: Organization, credential: Credential, context: AgentContext, alice: User
) -> None:
    make_grant(credential, context, alice, uses=["monitors"])
    with organization_scope(organization.id):
        found = dict(
            zip(
                UseFor.values,
                granted(organization_id=organization.id, attempts=[(AGENT_URL, use) for use in UseFor.values]),
                strict=True,
            )
        )
    assert found == {"owner_tests": False, "monitors": True, "heartbeats": False, "private_runners": False}


def test_a_replaced_secret_is_the_one_that_is_used(
    organization: Organization, credential: Credential, grant: CredentialGrant, alice: User
) -> None:
    replace_secret(organization=organization, credential_id=credential.pk, parameters={}, secret="a-new-one", by=alice)
    used = use_credential(attempt(organization))
    assert used is not None
    assert used.value == "Bearer a-new-one"
    assert uses_of(organization)[0].credential_version == 2
