"""Writes the filled database from which tests of later versions upgrade. Once a release, on the release's code:

python -m pytest tests/compliance/management/dump.py
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import Client

from compliance.models import Organization
from compliance.monitors import liveness
from compliance.suites.health import record_engine_health
from compliance.tenancy.actions import create_organization, delete_organization
from compliance.tenancy.scope import Actor, system_scope
from tests.compliance.management.databases import BASE, rows, write_dump
from tests.compliance.tenancy.test_policies import make_world
from tests.conftest import PASSWORD


def fill() -> None:
    """Something in every table."""
    alice = make_world().alice
    gone: Organization = create_organization(name="Gone", by=alice)
    delete_organization(organization=gone, by=alice)
    for phase in ("monitors", "heartbeats", "runners"):
        liveness.begin(phase)
        liveness.complete(phase, duration_ms=12)
    record_engine_health("worker@host")
    group = Group.objects.create(name="Support")
    group.permissions.add(Permission.objects.all()[0])
    alice.groups.add(group)
    alice.user_permissions.add(Permission.objects.all()[1])
    address = EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    EmailConfirmation.objects.create(email_address=address, key="a-key")
    Authenticator.objects.create(user=alice, type=Authenticator.Type.RECOVERY_CODES, data={})
    users = ContentType.objects.get_for_model(alice)
    LogEntry.objects.create(user=alice, content_type=users, object_id="1", object_repr="Alice", action_flag=CHANGE)
    assert Client().login(email=alice.email, password=PASSWORD)
    with system_scope(by=Actor.system("dump"), reason="have a row of each table"):
        pass


def test_write_dump(committed_db: None, superuser: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    fill()
    connections.close_all()
    assert [table for table, found in rows(superuser).items() if not found] == []
    write_dump(BASE)
