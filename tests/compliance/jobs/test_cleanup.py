"""The cleanup, when something in it breaks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from compliance.jobs import cleanup
from compliance.jobs.actions import request_owner_test
from compliance.jobs.models import JobState
from compliance.models import Job
from compliance.tenancy.actions import create_organization
from compliance.tenancy.scope import organization_scope
from tests.conftest import make_context, make_user


def test_a_part_of_the_sweep_that_fails_does_not_stop_the_others_and_is_raised(  # L11, L15
    committed_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_user("alice@example.org", "Alice Owner")
    organization = create_organization(name="Alpha", by=alice)
    context = make_context(organization)
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    job, _ = request_owner_test(organization=organization, context_id=context.pk, by=alice)
    with organization_scope(organization.id):
        Job.objects.filter(pk=job.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    def broken() -> int:
        raise DatabaseError("out of order")

    monkeypatch.setattr(cleanup, "dispatch_again", broken)
    with pytest.raises(DatabaseError, match="out of order"):
        cleanup.clean_up_jobs()
    with organization_scope(organization.id):
        assert Job.objects.get(pk=job.pk).state == JobState.EXPIRED
