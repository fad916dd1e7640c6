"""V6: rotation re-encrypts everything while the system runs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.core.management import CommandError, call_command
from django.db import transaction

from compliance.models import CredentialSecret
from compliance.tenancy.scope import Actor, organization_scope
from compliance.vault.actions import replace_secret
from compliance.vault.encryption import is_sealed, sealed_prefix
from compliance.vault.rotation import rotate
from compliance.vault.use import use_credential
from tests.compliance.jobs.test_queue import at_once
from tests.compliance.vault.conftest import SECRET

OLD = "b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xkLWtleS0"
NEW = "bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0"
BY = Actor.system("tests")


@pytest.fixture
def here(world: Any, settings: Any) -> Any:
    settings.VAULT_KEYS = [OLD]
    return world()


def sealed_with_the_newest(here: Any) -> list[bool]:
    with organization_scope(here.organization.id):
        return [secret.sealed.startswith(sealed_prefix()) for secret in CredentialSecret.objects.all()]


def test_everything_is_under_the_newest_key_and_the_old_one_can_go(here: Any, settings: Any, capsys: Any) -> None:
    for number in range(5):
        here.credential(name=f"Key {number}", secret=f"{SECRET}-{number}")
    here.grant(here.credential())
    settings.VAULT_KEYS = [NEW, OLD]
    assert use_credential(here.attempt()) is not None
    call_command("rotate_credentials", "--batch", "2")
    assert "6 encrypted anew; everything is under the newest key" in capsys.readouterr().out
    settings.VAULT_KEYS = [NEW]
    assert sealed_with_the_newest(here) == [True] * 6
    used = use_credential(here.attempt())
    assert used is not None
    assert used.value == f"Bearer {SECRET}"
    call_command("rotate_credentials")
    assert capsys.readouterr().out.startswith("0 encrypted anew")


def test_stopped_in_the_middle_it_goes_on_where_it_was(here: Any, settings: Any) -> None:
    for number in range(5):
        here.credential(name=f"Key {number}")
    settings.VAULT_KEYS = [NEW, OLD]

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(by=BY, batch=2, on_progress=stop)
    assert sum(sealed_with_the_newest(here)) == 2
    assert rotate(by=BY).resealed == 3


def test_a_row_that_is_being_edited_is_waited_for(here: Any, settings: Any) -> None:
    busy, _ = here.credential(name="Busy"), here.credential(name="Free")
    settings.VAULT_KEYS = [NEW, OLD]
    held, let_go, told = threading.Event(), threading.Event(), threading.Event()

    def work(index: int) -> Any:
        if index == 0:
            with organization_scope(here.organization.id):
                list(CredentialSecret.objects.select_for_update().filter(pk=busy.pk))
                held.set()
                assert let_go.wait(20)
            return None
        assert held.wait(20)

        def tell(rotation: Any) -> None:
            # The free one came first; the other is let go only now.
            if not told.is_set():
                told.set()
                assert sealed_with_the_newest(here).count(True) == 1
                let_go.set()

        return rotate(by=BY, on_progress=tell)

    assert at_once(work, 2)[1].resealed == 2
    assert sealed_with_the_newest(here) == [True, True]


def test_credentials_are_used_and_replaced_while_it_runs(here: Any, settings: Any) -> None:
    credentials = [here.credential(name=f"Key {number}") for number in range(6)]
    here.grant(credentials[0])
    settings.VAULT_KEYS = [NEW, OLD]

    def work(index: int) -> Any:
        if index < 2:
            return rotate(by=BY, batch=1)
        if index == 2:
            for credential in credentials[1:]:
                replace_secret(
                    organization=here.organization,
                    credential_id=credential.pk,
                    parameters={},
                    secret="replaced-one",
                    by=here.alice,
                )
            return None
        return [use_credential(here.attempt()).value for _ in range(10)]  # type: ignore[union-attr]

    results = at_once(work, 4)
    assert results[3] == [f"Bearer {SECRET}"] * 10
    assert [result for result in results if isinstance(result, Exception)] == []
    assert all(sealed_with_the_newest(here))


def test_what_no_key_opens_is_counted_and_left(here: Any, settings: Any) -> None:
    here.credential()
    settings.VAULT_KEYS = [NEW]
    here.credential(name="Readable")
    with pytest.raises(CommandError, match="1 that none of the keys opens"):
        call_command("rotate_credentials")
    settings.VAULT_KEYS = []
    with pytest.raises(CommandError, match="ASSAY_VAULT_KEYS"):
        call_command("rotate_credentials")


class TestSecondFactors:
    def seed(self, here: Any) -> str:
        return str(Authenticator.objects.get(type="totp").data["secret"])

    def test_seeds_are_encrypted_and_rotated(self, here: Any, settings: Any) -> None:  # V1
        TOTP.activate(here.alice, "JBSWY3DPEHPK3PXP")
        assert is_sealed(self.seed(here))
        assert "JBSWY3DPEHPK3PXP" not in self.seed(here)
        settings.VAULT_KEYS = [NEW, OLD]
        assert rotate(by=BY).resealed == 1
        settings.VAULT_KEYS = [NEW]
        assert get_adapter().decrypt(self.seed(here)) == "JBSWY3DPEHPK3PXP"

    def test_a_seed_from_before_works_and_is_encrypted_by_the_next_rotation(self, here: Any) -> None:
        with transaction.atomic():
            Authenticator.objects.create(user=here.alice, type="totp", data={"secret": "JBSWY3DPEHPK3PXP"})
            Authenticator.objects.create(
                user=here.alice, type="recovery_codes", data={"seed": "ab" * 20, "used_mask": 1}
            )
        assert get_adapter().decrypt(self.seed(here)) == "JBSWY3DPEHPK3PXP"
        assert rotate(by=BY).resealed == 2
        assert is_sealed(self.seed(here))
        codes = Authenticator.objects.get(type="recovery_codes")
        assert is_sealed(codes.data["seed"])
        assert codes.data["used_mask"] == 1
        assert len(codes.wrap().get_unused_codes()) == 9
        assert rotate(by=BY).resealed == 0
