"""A witness inside the database: triggers that write down, in the same transaction, what happened to jobs and runs.

The tables say how things ended; the witness says in which order, in which transaction, and by which process, whose
name is its connections' application_name. It is installed by a superuser and is no part of Assay.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

# What is wide and proves nothing stays out.
_INSTALL = """
CREATE SCHEMA witness;
CREATE TABLE witness.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid text NOT NULL DEFAULT pg_current_xact_id()::text,
    began timestamptz NOT NULL DEFAULT now(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    app text NOT NULL DEFAULT current_setting('application_name'),
    source text NOT NULL,
    key text NOT NULL,
    before jsonb,
    after jsonb NOT NULL
);
CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wide text[] := '{tracks_json,observations,notices,progress,options,runtime}';
    row_after jsonb := to_jsonb(NEW) - wide;
BEGIN
    INSERT INTO witness.events (source, key, before, after)
    VALUES (TG_TABLE_NAME, row_after ->> TG_ARGV[0],
        CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) - wide END, row_after);
    RETURN NULL;
END $$;

CREATE TRIGGER witness AFTER INSERT ON agent_compliance_runs FOR EACH ROW EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness AFTER INSERT ON monitor_decisions FOR EACH ROW EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness AFTER INSERT ON compliance_jobs FOR EACH ROW EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness_moves AFTER UPDATE ON compliance_jobs FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.lease_token IS DISTINCT FROM NEW.lease_token
        OR OLD.attempt <> NEW.attempt OR OLD.run_id IS DISTINCT FROM NEW.run_id)
    EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness AFTER INSERT ON monitors FOR EACH ROW EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness_moves AFTER UPDATE ON monitors FOR EACH ROW
    WHEN (OLD.next_run_at IS DISTINCT FROM NEW.next_run_at OR OLD.state <> NEW.state)
    EXECUTE FUNCTION witness.note('id');
CREATE TRIGGER witness_moves AFTER UPDATE ON agents FOR EACH ROW
    WHEN (OLD.next_heartbeat_at IS DISTINCT FROM NEW.next_heartbeat_at)
    EXECUTE FUNCTION witness.note('agent_url');
"""


class Witness:
    """A superuser's connection to the database of a run, which is opened anew after each restart of the server."""

    def __init__(self, superuser_url: str, database: str) -> None:
        self._url = superuser_url
        self._database = database
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    def install(self) -> None:
        self.connection().execute(_INSTALL)

    def connection(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = psycopg.connect(
                self._url,
                dbname=self._database,
                autocommit=True,
                application_name="checker",
                row_factory=dict_row,
                options="-c jit=off",
            )
        return self._connection

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query with %(named)s values."""
        return self.connection().execute(sql.encode(), values or None).fetchall()

    def number(self, sql: str, **values: Any) -> int:
        """The one number that a query gives."""
        [row] = self.rows(sql, **values)
        return int(next(iter(row.values())) or 0)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
