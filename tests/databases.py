"""Databases beside the one that a server begins with."""

from __future__ import annotations

import psycopg
from psycopg import sql

from compliance.embedded.postgres import create_database

__all__ = ["create_database", "drop_database"]


def drop_database(superuser_url: str, name: str) -> None:
    """Drop a database, if it is there, with whoever is still connected to it."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
