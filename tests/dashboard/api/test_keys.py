"""Keys: what is kept of them, who makes them, and when they no longer work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.models import ApiKey, Organization, Role, User
from compliance.monitors.actions import pause_monitor
from compliance.registry.actions import register_agent
from compliance.tenancy.api_key_actions import create_key, make_runner_key, revoke_key, revoke_runner_keys
from compliance.tenancy.api_keys import BadKey, KeyActor, KnownKeys, actor_of, hash_of, new_token
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.ids import uuid7
from compliance.tenancy.roles import managing_membership
from compliance.tenancy.scope import organization_scope
from tests.compliance.runners.conftest import make_runner
from tests.conftest import add_member
from tests.dashboard.api.conftest import change_key, make_expired_key, make_key
from tests.processes import wait_for


def stored(key: ApiKey) -> ApiKey:
    with organization_scope(key.organization_id):
        return ApiKey.objects.get(pk=key.pk)


def why_bad(token: str) -> str:
    with pytest.raises(BadKey) as refusal:
        actor_of(token)
    return refusal.value.why


class TestMaking:
    def test_the_token_is_given_once_and_only_its_hash_is_kept(self, organization: Organization, alice: User) -> None:
        key, token = make_key(organization, alice, "read")
        kind, prefix, secret = token.split("_", 2)
        assert (kind, prefix, len(secret)) == ("ask", key.prefix, 43)
        with organization_scope(organization.id), connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(k)::text FROM api_keys k")
            row = cursor.fetchone()[0]
        assert secret not in row
        assert hash_of(token) in row
        assert token not in repr(key) + str(key)

    def test_it_lasts_as_long_as_the_settings_say_and_no_longer(self, organization: Organization, alice: User) -> None:
        key, _ = make_key(organization, alice)
        assert key.expires_at - key.created_at == timedelta(days=settings.API_KEY_DEFAULT_DAYS)
        for expires in (timezone.now(), timezone.now() + timedelta(days=settings.API_KEY_MAX_DAYS + 1)):
            with pytest.raises(Refused, match="expire within"):
                create_key(organization=organization, name="CI", scopes=["read"], by=alice, expires=expires)

    @pytest.mark.parametrize("scopes", [[], ["everything"], ["runner"], ["read", "runner"]])
    def test_its_scopes_are_those_of_an_organization(
        self, organization: Organization, alice: User, scopes: list[str]
    ) -> None:
        with pytest.raises(Refused, match="may do"):
            create_key(organization=organization, name="CI", scopes=scopes, by=alice)

    def test_it_needs_a_name(self, organization: Organization, alice: User) -> None:
        with pytest.raises(Refused, match="name"):
            create_key(organization=organization, name=" \u200b", scopes=["read"], by=alice)

    @pytest.mark.parametrize("who", ["bob", "charlie"])
    def test_only_owners_and_admins_make_and_revoke_keys(
        self, request: Any, organization: Organization, alice: User, who: str
    ) -> None:
        by, (key, _) = request.getfixturevalue(who), make_key(organization, alice)
        with pytest.raises(NotAllowed):
            make_key(organization, by)
        with pytest.raises(NotAllowed):
            revoke_key(organization=organization, key_id=key.pk, by=by)
        with pytest.raises(NotAllowed):
            make_runner_key(organization=organization, runner_id=uuid7(), name="lab", by=by)
        assert stored(key).works

    def test_an_admin_makes_keys(self, organization: Organization, charlie: User) -> None:
        add_member(organization, charlie, Role.ADMIN)
        assert make_key(organization, charlie)[0].created_by == "Charlie Stranger"

    def test_a_key_of_another_organization_is_not_there_to_be_revoked(
        self, organization: Organization, other_organization: Organization, alice: User, charlie: User
    ) -> None:  # I5
        key, _ = make_key(other_organization, charlie)
        with pytest.raises(ApiKey.DoesNotExist):
            revoke_key(organization=organization, key_id=key.pk, by=alice)


class TestKnowing:
    def test_a_token_tells_whose_it_is_and_what_it_may(self, organization: Organization, alice: User) -> None:
        key, token = make_key(organization, alice, "read", "test")
        actor = actor_of(token)
        assert actor == KeyActor(key.pk, organization.id, "CI", frozenset({"read", "test"}))
        assert (actor.as_actor().kind, actor.as_actor().id) == ("api_key", str(key.pk))

    def test_a_token_that_is_nearly_right_is_unknown(self, organization: Organization, alice: User) -> None:
        key, token = make_key(organization, alice)
        other = "A" if token[-1] != "A" else "B"
        for wrong in ("", token[:-1], token[:-1] + other, token + "A", token.replace("ask_", "asr_"), token.upper()):
            assert why_bad(wrong) == "unknown"
        change_key(key, revoked_at=timezone.now())
        assert why_bad(token[:-1] + other) == "unknown"

    def test_one_that_is_revoked_or_has_expired_says_so_to_who_has_all_of_it(
        self, organization: Organization, alice: User
    ) -> None:
        key, token = make_key(organization, alice)
        revoke_key(organization=organization, key_id=key.pk, by=alice)
        assert why_bad(token) == "revoked"
        assert stored(key).revoked_by == "Alice Owner"
        assert why_bad(make_expired_key(organization, alice)) == "expired"

    def test_use_is_written_down_at_most_once_a_minute(self, organization: Organization, alice: User) -> None:
        key, token = make_key(organization, alice)
        assert stored(key).last_used_at is None
        actor_of(token)
        first = stored(key).last_used_at
        assert first is not None
        actor_of(token)
        assert stored(key).last_used_at == first
        change_key(key, last_used_at=first - timedelta(seconds=61))
        actor_of(token)
        assert stored(key).last_used_at != first - timedelta(seconds=61)

    def test_a_key_goes_with_its_organization(self, organization: Organization, alice: User) -> None:  # R11
        from compliance.tenancy.actions import delete_organization

        _, token = make_key(organization, alice)
        delete_organization(organization=organization, by=alice)
        assert why_bad(token) == "unknown"


class TestAuthority:
    """L7: pages and the API ask the same rule."""

    def test_a_managing_key_manages_its_own_organization_alone(
        self, organization: Organization, other_organization: Organization, alice: User
    ) -> None:
        actor = actor_of(make_key(organization, alice, "manage")[1])
        assert register_agent(organization=organization, url="https://new.example/mcp", by=actor).name
        with pytest.raises(NotAllowed):
            register_agent(organization=other_organization, url="https://new.example/mcp", by=actor)

    def test_a_key_without_the_scope_does_not_manage(self, organization: Organization, alice: User) -> None:
        actor = actor_of(make_key(organization, alice, "read", "test")[1])
        with pytest.raises(NotAllowed, match="manage"):
            register_agent(organization=organization, url="https://new.example/mcp", by=actor)

    def test_a_key_that_is_revoked_while_it_works_does_nothing_more(
        self, organization: Organization, alice: User
    ) -> None:
        key, token = make_key(organization, alice)
        actor = actor_of(token)
        change_key(key, revoked_at=timezone.now())
        with pytest.raises(NotAllowed, match="no longer valid"):
            pause_monitor(organization=organization, monitor_id=uuid7(), by=actor)

    def test_the_scopes_that_count_are_those_of_the_row(self, organization: Organization, alice: User) -> None:
        actor = actor_of(make_key(organization, alice, "read")[1])
        forged = KeyActor(actor.key_id, actor.organization_id, actor.name, frozenset({"manage"}))
        with organization_scope(organization.id), pytest.raises(NotAllowed):
            managing_membership(organization.id, forged)


class TestRunners:
    def test_a_new_key_of_a_runner_ends_the_one_before(self, organization: Organization, alice: User) -> None:
        lab = make_runner(organization, alice)
        runner, first = lab.runner.pk, lab.token
        make = {"organization": organization, "runner_id": runner, "name": "lab", "by": alice}
        (_, second) = make_runner_key(**make)
        assert second.startswith("asr_")
        assert why_bad(first) == "revoked"
        assert actor_of(second).runner_id == runner
        assert revoke_runner_keys(organization=organization, runner_id=runner, by=alice) == 1
        assert why_bad(second) == "revoked"

    def test_other_runners_keys_stay(self, organization: Organization, alice: User) -> None:
        one, other = (make_runner(organization, alice, name) for name in ("one", "other"))
        make_runner_key(organization=organization, runner_id=one.runner.pk, name="one", by=alice)
        assert why_bad(one.token) == "revoked"
        assert actor_of(other.token).runner_id == other.runner.pk
        with organization_scope(organization.id):
            assert not ApiKey.objects.of_organization(organization.id).exists()


class TestTheTable:
    @pytest.mark.parametrize(
        "assignment",
        ["revoked_at = NULL, revoked_by = ''", "scopes = ARRAY['manage']", "expires_at = now() + interval '9 years'"],
    )
    def test_a_key_is_revoked_once_and_never_changed(
        self, organization: Organization, alice: User, assignment: str
    ) -> None:
        key, _ = make_key(organization, alice)
        revoke_key(organization=organization, key_id=key.pk, by=alice)
        with (
            organization_scope(organization.id),
            pytest.raises(DatabaseError, match=r"permission denied|revoked once"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE api_keys SET {assignment}")

    def test_even_who_may_change_everything_changes_none(
        self, committed_db: None, superuser: psycopg.Connection[Any]
    ) -> None:
        from compliance.tenancy.actions import create_organization
        from tests.conftest import make_user

        alice = make_user("alice@example.org", "Alice Owner")
        make_key(create_organization(name="Alpha", by=alice), alice, "read")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="revoked once"):
            superuser.execute("UPDATE api_keys SET scopes = ARRAY['manage']")

    def test_staff_see_keys_and_never_their_hashes(self, organization: Organization, alice: User) -> None:
        from compliance.tenancy.scope import Actor, system_scope

        make_key(organization, alice)
        with system_scope(by=Actor.system("tests"), reason="look"):
            assert ApiKey.objects.defer("secret_hash").get().name == "CI"
            with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
                ApiKey.objects.get()


class TestRemembering:
    """Keys of runners are remembered between calls; that they work still is asked where something is done for them."""

    @pytest.fixture
    def tokens(self, organization: Organization, alice: User) -> list[str]:
        return [make_runner(organization, alice, name).token for name in ("one", "two", "three")]

    def asked(self, keys: KnownKeys, token: str) -> bool:
        """Whether the database was asked for the key."""
        with CaptureQueriesContext(connection) as captured:
            assert keys.actor_of(token) == actor_of(token)
        return len([query for query in captured if "find_api_key" in query["sql"]]) == 2

    def test_a_known_key_is_not_asked_for_until_it_is_forgotten(self, tokens: list[str]) -> None:
        keys = KnownKeys(seconds=3600, at_most=10)
        assert [self.asked(keys, tokens[0]) for _ in range(3)] == [True, False, False]
        keys.forget(tokens[0])
        assert [self.asked(keys, tokens[0]) for _ in range(2)] == [True, False]

    def test_no_more_are_kept_than_there_is_room_for(self, tokens: list[str]) -> None:
        keys = KnownKeys(seconds=3600, at_most=2)
        assert [self.asked(keys, token) for token in (*tokens, tokens[2], tokens[0])] == [True] * 3 + [False, True]

    def test_nor_for_longer_than_was_said(self, tokens: list[str]) -> None:
        keys = KnownKeys(seconds=0, at_most=10)
        assert [self.asked(keys, tokens[0]) for _ in range(2)] == [True, True]

    def test_nor_for_longer_than_the_key_works(self, organization: Organization, alice: User) -> None:
        runner = make_runner(organization, alice).runner
        token, prefix = new_token("asr")
        key = ApiKey(organization=organization, name="Short", prefix=prefix, secret_hash=hash_of(token))
        key.scopes, key.created_by, key.runner_id = ["runner"], alice.get_full_name(), runner.pk
        key.created_at, key.expires_at = timezone.now(), timezone.now() + timedelta(seconds=1)
        with organization_scope(organization.id):
            key.save(force_insert=True)
        keys = KnownKeys(seconds=3600, at_most=10)
        assert keys.actor_of(token).key_id == key.pk

        def has_ended() -> bool:
            try:
                keys.actor_of(token)
            except BadKey as bad:
                return bad.why == "expired"
            return False

        wait_for(has_ended, what="the end of the key", seconds=10)

    def test_an_organizations_key_is_always_asked_for(self, organization: Organization, alice: User) -> None:
        _, token = make_key(organization, alice)
        keys = KnownKeys(seconds=3600, at_most=10)
        assert [self.asked(keys, token) for _ in range(2)] == [True, True]
