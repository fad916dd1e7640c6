"""The staff site speaks of what people know, not of tables and columns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse
from django.utils.html import strip_tags

from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, Organization, User
from compliance.monitors import liveness
from compliance.monitors.actions import run_monitor_now
from compliance.runners.actions import create_runner
from compliance.suites.health import record_engine_health
from compliance.webhooks.actions import take_delivery
from tests.compliance.monitors.conftest import make_monitor, skip_heartbeat
from tests.conftest import AGENT_URL, make_run

OF_TABLES = re.compile(r"\b(scope|url|id|pk|org)\b|compliance (run|request)|membership|_", re.IGNORECASE)


@pytest.fixture
def rows(organization: Organization, context: AgentContext, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row in each list: an empty one has no head."""
    monkeypatch.setattr("compliance.celery.app.send_task", lambda name, args: None)
    make_run()
    record_engine_health("hosted@one")
    request_owner_test(organization=organization, context_id=context.pk, by=alice)
    monitor = make_monitor(organization, context, alice)
    run_monitor_now(organization=organization, monitor_id=monitor.pk, by=alice)
    liveness.begin("monitors")
    skip_heartbeat(AGENT_URL)
    create_runner(organization=organization, name="lab", by=alice)  # with its API key
    take_delivery(source="registry", delivery_id="msg_1", kind="agent.deployed", agent_url=AGENT_URL)


def test_the_index_names_things_as_people_do(staff: Any) -> None:
    names = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', staff.get("/staff/").content.decode(), re.DOTALL)
    shown = [strip_tags(name).strip() for name in names]
    assert {"Runs", "Jobs", "Members", "Access records", "Agent contexts"} <= set(shown)
    assert [name for name in shown if OF_TABLES.search(name)] == []


def test_lists_name_their_columns_as_people_do(staff: Any, rows: None) -> None:
    for model in admin.site._registry:
        text = staff.get(reverse(f"admin:compliance_{model._meta.model_name}_changelist")).content.decode()
        head = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', text, re.DOTALL)
        columns = [" ".join(strip_tags(column).split()) for column in head]
        assert columns or model._meta.model_name == "invitation", model
        # An organization's key is called so by those who were given it: org_….
        allowed = {"Id"} if model is Organization else set()
        assert [column for column in columns if OF_TABLES.search(column) and column not in allowed] == [], model
