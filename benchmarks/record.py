"""record_run, against bare inserts of the same rows in the same number of transactions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from django.db import connection
from django.utils import timezone
from psycopg.types.json import Jsonb

from benchmarks.databases import connect_superuser, make_database, use_database
from benchmarks.measure import Sample, Section, ratio, take_turns
from compliance.embedded.postgres import Postgres
from compliance.engines.reports.model import Evidence, Report, Scenario, Step, Track, Verdict
from compliance.models import (
    Agent,
    AgentContext,
    LifecycleStage,
    Membership,
    Organization,
    Role,
    SuiteVersion,
    TriggeredBy,
    User,
)
from compliance.runs.recording import record_run
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, organization_scope, platform_scope

STEPS = 30
GOAL = 0.5
DATABASE = "record"
AGENT_URL = "https://recorded.example/mcp"
ORGANIZATION = "org_recorded"
_EVIDENCE_COLUMNS = (
    "run_id, step_index, recorded_at, agent_url, organization_id, credential_organization_id, request, response,"
    " pointer"
)
