"""The servers' databases, and which of them Django uses."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connections

from compliance.embedded.postgres import Postgres, create_database
from compliance.suites.actions import publish_engine_suites
from compliance.tenancy.scope import Actor
from tests.databases import drop_database

TEMPLATE = "bench_template"
_PROJECT = Path(__file__).resolve().parents[1]
_SHAPED_BY = [Path(__file__).with_name("load.py"), *sorted((_PROJECT / "compliance" / "migrations").glob("0*.py"))]


def use_database(name: str) -> None:
    """Let Django's connections, app and owner, go to another database of the same server from here on."""
    for alias in ("default", "owner"):
        connections[alias].close()
        connections[alias].settings_dict["NAME"] = name


def connect_superuser(postgres: Postgres, name: str, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(postgres.superuser_url, dbname=name, autocommit=True, **options)


def connect_app(postgres: Postgres, name: str, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(postgres.app_url, dbname=name, **options)


def shape() -> str:
    """Names what decides the loaded data: another one means that a kept database is of no use."""
    digest = hashlib.sha256()
    for path in _SHAPED_BY:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def make_template(postgres: Postgres) -> None:
    """A migrated database with the engines' suites, to copy the others from."""
    drop_database(postgres.superuser_url, TEMPLATE)
    create_database(postgres.superuser_url, TEMPLATE)
    use_database(TEMPLATE)
    call_command("migrate", verbosity=0)
    publish_engine_suites(by=Actor.system("benchmarks"))
    connections.close_all()


def make_database(postgres: Postgres, name: str) -> None:
    """A fresh copy of the template."""
    connections.close_all()
    drop_database(postgres.superuser_url, name)
    create_database(postgres.superuser_url, name, TEMPLATE)
