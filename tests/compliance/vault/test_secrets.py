"""V1: the secret is encrypted at rest, bound to its row, and turns up nowhere."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from contextlib import nullcontext
from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest
from django.core.checks import run_checks
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

from compliance.engines import Credential as Usable
from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, Credential, CredentialGrant, Organization, User
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import organization_scope
from compliance.vault.actions import (
    add_credential,
    delete_credential,
    grant_credential,
    rename_credential,
    replace_secret,
    revoke_grant,
)
from compliance.vault.encryption import Unreadable, seal, unseal
from compliance.vault.kinds import Kind, checked, hint_of, usable
from compliance.vault.models import CredentialSecret, associated_data
from compliance.vault.use import CredentialRefused, use_credential
from tests.compliance.vault.conftest import PARAMETERS, SECRET, attempt, make_credential, make_grant

SECRETS = strategies.text(strategies.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60)


@pytest.mark.parametrize("kind", Kind.values)
def test_what_lies_in_the_database_holds_no_secret(
    world: Any, stored_secret: Any, superuser: Any, kind: str
) -> None:  # V1
    credential = world().credential(kind=kind)
    text = json.dumps(stored_secret(credential.pk), default=str)
    text += str(superuser.execute("SELECT to_jsonb(c) FROM credentials c").fetchone())
    assert SECRET not in text
    assert base64.b64encode(SECRET.encode()).decode() not in text
    assert credential.hint in ("", SECRET[-4:])


class TestBinding:  # V6
    def move(self, superuser: Any, **to: Any) -> None:
        superuser.execute("UPDATE credential_secrets SET sealed = %(sealed)s WHERE credential_id = %(credential)s", to)

    def test_a_ciphertext_moved_to_another_row_does_not_decrypt(
        self, world: Any, stored_secret: Any, superuser: Any
    ) -> None:
        here = world()
        mine, stolen = here.credential(name="Mine", secret="the-weak-one"), here.credential(name="Strong")
        here.grant(mine)
        self.move(superuser, sealed=stored_secret(stolen.pk)["sealed"], credential=mine.pk)
        with pytest.raises(CredentialRefused) as caught:
            use_credential(here.attempt())
        assert caught.value.result == "unreadable"

    def test_an_older_ciphertext_of_the_same_row_does_not_either(
        self, world: Any, stored_secret: Any, superuser: Any
    ) -> None:
        here = world()
        credential = here.credential()
        here.grant(credential)
        old = stored_secret(credential.pk)["sealed"]
        replace_secret(
            organization=here.organization,
            credential_id=credential.pk,
            parameters={},
            secret="the-new-one",
            by=here.alice,
        )
        self.move(superuser, sealed=old, credential=credential.pk)
        with pytest.raises(CredentialRefused):
            use_credential(here.attempt())

    @given(secret=SECRETS, other=strategies.sampled_from(["organization", "row", "version", "purpose"]))
    def test_another_organization_row_version_or_purpose_is_refused(self, secret: str, other: str) -> None:
        row = uuid4()
        sealed = seal(secret, bound_to=associated_data(row, "org_a", 1, "secret"))
        assert secret not in sealed
        assert unseal(sealed, bound_to=associated_data(row, "org_a", 1, "secret")) == secret
        elsewhere = associated_data(
            uuid4() if other == "row" else row,
            "org_b" if other == "organization" else "org_a",
            2 if other == "version" else 1,
            "token" if other == "purpose" else "secret",
        )
        with pytest.raises(Unreadable) as caught:
            unseal(sealed, bound_to=elsewhere)
        assert secret not in "".join(traceback.format_exception(caught.value))

    @given(garbage=strategies.text())
    def test_damage_is_unreadable_and_never_another_error(self, garbage: str) -> None:
        for text in (garbage, f"av1:x:{garbage}"):
            with pytest.raises(Unreadable):
                unseal(text, bound_to=("a",))


class TestNowhere:  # V1
    @given(secret=SECRETS, kind=strategies.sampled_from(Kind.values))
    def test_not_in_a_repr(self, secret: str, kind: str) -> None:
        credential = usable(
            kind, PARAMETERS[kind], secret, token="at-" + secret, organization_id="org_x", credential_id="c", name="n"
        )
        assert secret not in repr(credential).replace("Usable", "")
        assert credential.value not in repr(credential)
        assert {field.name for field in fields(Usable) if field.repr} == {"organization_id", "credential_id", "name"}
        # And the engine is told to hide it, and what is made of it, wherever it turns up.
        assert secret in credential.hidden
        assert credential.value in credential.hidden

    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
    @given(secret=SECRETS)
    def test_not_in_a_refusal_its_traceback_or_a_log(
        self, organization: Organization, context: AgentContext, alice: User, caplog: Any, secret: str
    ) -> None:
        caplog.clear()
        caplog.set_level(logging.DEBUG)
        said = []
        for kind, parameters, given_secret in (
            ("api_key", {"header": "Host"}, secret),
            ("api_key", {"header": "bad header"}, secret),
            ("bearer", {}, f"{secret} {secret}"),
            ("basic", {"username": "a:b"}, secret),
            ("oauth", {"token_url": "http://login.example/", "client_id": "x"}, secret),
            ("nothing", {}, secret),
        ):
            with pytest.raises(Refused) as caught:
                checked(kind, parameters, given_secret)
            said += traceback.format_exception(caught.value)
        credential = make_credential(organization, alice, name=f"k{uuid4()}", secret=secret)
        with pytest.raises(CredentialRefused) as refused:
            use_credential(attempt(organization, credential_id=credential.pk))
        said += traceback.format_exception(refused.value)
        said += [str(credential), repr(credential), caplog.text]
        assert [text for text in said if secret in text and secret not in str(credential.pk)] == []

    def test_not_in_a_task_argument(
        self,
        organization: Organization,
        context: AgentContext,
        alice: User,
        sent: list[Any],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        credential = make_credential(organization, alice)
        make_grant(credential, context, alice)
        with django_capture_on_commit_callbacks(execute=True):
            job, _ = request_owner_test(
                organization=organization, context_id=context.pk, by=alice, credential=credential.pk
            )
        [(_, arguments)] = sent
        assert arguments == (str(job.pk), organization.id)
        assert SECRET not in str(sent)

    def test_not_in_the_options_of_a_job(
        self, organization: Organization, context: AgentContext, credential: Credential, alice: User
    ) -> None:
        job, _ = request_owner_test(
            organization=organization, context_id=context.pk, by=alice, credential=credential.pk
        )
        assert SECRET not in str(job.__dict__)


@pytest.mark.parametrize(
    ("kind", "secret", "hint"),
    [
        ("bearer", "sk-live-4f9a-77c2-XYZW", "XYZW"),
        ("api_key", "1234567890123456", "456"),
        ("api_key", "123456789012345", ""),
        ("bearer", "123456789012", ""),
        ("basic", "a-long-password-of-somebody", ""),
    ],
)
def test_a_hint_is_at_most_a_fifth_and_none_of_a_short_secret_or_a_password(kind: str, secret: str, hint: str) -> None:
    assert hint_of(kind, secret) == hint


INSIDE = "Assay does not connect to"
NO_TLS = "must begin with https"


@pytest.mark.parametrize(
    ("address", "allow", "said"),
    [
        ("https://127.0.0.1/token", (), INSIDE),
        ("https://127.1/token", (), INSIDE),
        ("https://2130706433/token", (), INSIDE),
        ("https://localhost:8443/token", (), INSIDE),
        ("https://login.localhost./token", (), INSIDE),
        ("https://10.1.2.3/token", ("127.0.0.0/8",), INSIDE),
        ("https://169.254.169.254/latest/meta-data/", (), INSIDE),
        ("https://[::1]/token", (), INSIDE),
        ("https://[::ffff:10.0.0.1]/token", (), INSIDE),
        ("https://[fe80::1%25eth0]/token", (), INSIDE),
        ("https://10.1.2.3:8443/token", ("10.1.2.3:8443",), ""),
        ("https://10.1.2.3/token", ("10.1.2.3:8443",), INSIDE),
        ("https://10.1.2.3/token", ("10.0.0.0/8",), ""),
        ("https://login.example/token", (), ""),
        ("https://93.184.215.14/token", (), ""),
        ("http://127.0.0.1:8080/token", (), NO_TLS),
        ("http://localhost:8080/token", ("127.0.0.0/8",), ""),
        ("http://login.example/token", ("127.0.0.0/8",), NO_TLS),
        ("http://login.internal/token", ("login.internal",), ""),
        ("http://login.internal/token", ("login.internal:8080",), NO_TLS),
        ("ftp://login.internal/token", ("login.internal",), NO_TLS),
    ],
)
def test_a_token_endpoint_that_would_be_refused_on_use_is_refused_in_the_form(
    settings: Any, address: str, allow: tuple[str, ...], said: str
) -> None:  # V7
    settings.EGRESS_ALLOW = allow
    parameters = {"token_url": address, "client_id": "assay"}
    with pytest.raises(Refused, match=said) if said else nullcontext():
        checked("oauth", parameters, SECRET)


@pytest.mark.parametrize("role", ["member", "stranger"])
def test_only_owners_and_admins_keep_grant_and_revoke(
    organization: Organization,
    bob: User,
    charlie: User,
    credential: Credential,
    context: AgentContext,
    grant: CredentialGrant,
    role: str,
) -> None:
    by = bob if role == "member" else charlie
    its = {"organization": organization, "credential_id": credential.pk, "by": by}
    for attempted in (
        lambda: add_credential(organization=organization, name="n", kind="bearer", parameters={}, secret=SECRET, by=by),
        lambda: replace_secret(parameters={}, secret="another-one", **its),
        lambda: rename_credential(name="Mine", **its),
        lambda: delete_credential(**its),
        lambda: grant_credential(uses=["owner_tests"], context_ids=[context.pk], days=1, **its),
        lambda: revoke_grant(organization=organization, grant_id=grant.pk, by=by),
    ):
        with pytest.raises(NotAllowed):
            attempted()


def test_names_are_unique_while_they_are_in_use(
    organization: Organization, credential: Credential, alice: User
) -> None:
    with pytest.raises(Refused, match="already"):
        make_credential(organization, alice, name="TEST KEY")
    delete_credential(organization=organization, credential_id=credential.pk, by=alice)
    make_credential(organization, alice, name="test key")


def test_deleting_destroys_the_secret_and_revokes_the_grants(
    organization: Organization, credential: Credential, grant: CredentialGrant, alice: User
) -> None:
    delete_credential(organization=organization, credential_id=credential.pk, by=alice)
    with organization_scope(organization.id):
        assert CredentialSecret.objects.count() == 0
        assert CredentialGrant.objects.get().revoked_by == "Alice Owner"
        assert list(Credential.objects.not_deleted(organization.id)) == []
    with pytest.raises(Credential.DoesNotExist):
        rename_credential(organization=organization, credential_id=credential.pk, name="x", by=alice)


@pytest.mark.parametrize("days", [0, -1, 366, 10**9])
def test_a_grant_lasts_a_day_to_the_operators_maximum(
    organization: Organization, credential: Credential, context: AgentContext, alice: User, days: int
) -> None:
    with pytest.raises(Refused, match="1 to 365"):
        make_grant(credential, context, alice, days=days)


def test_a_grant_needs_a_use_and_agents_of_ones_own(
    organization: Organization, credential: Credential, context: AgentContext, other_context: AgentContext, alice: User
) -> None:
    with pytest.raises(Refused, match="used for"):
        make_grant(credential, context, alice, uses=[])
    with pytest.raises(Refused, match="used for"):
        make_grant(credential, context, alice, uses=["everything"])
    with pytest.raises(Refused, match="agents"):
        make_grant(credential, other_context, alice)


def test_no_key_means_nothing_is_kept(organization: Organization, alice: User, settings: Any) -> None:
    for keys in ([], ["malformed"]):
        settings.VAULT_KEYS = keys
        with pytest.raises(Refused, match="operator"):
            make_credential(organization, alice)


class TestChecks:
    def test_the_deployment_check_asks_for_keys(self, settings: Any) -> None:
        settings.VAULT_KEYS = []
        assert "compliance.E002" in {message.id for message in run_checks(include_deployment_checks=True)}
        assert "compliance.E002" not in {message.id for message in run_checks()}

    @pytest.mark.parametrize("key", ["short", "x" * 43 + "!", "A" * 64])
    def test_a_malformed_key_is_named_by_its_place_and_not_shown(self, settings: Any, key: str) -> None:
        settings.VAULT_KEYS = [*settings.VAULT_KEYS, key]
        [message] = [message for message in run_checks() if message.id == "compliance.E001"]
        assert "Key 2" in message.msg
        assert key not in message.msg
