"""What a table has in the database beside columns, and Django's Meta has no class for.

To Django each of these is a constraint: it stands in `Meta.constraints` of the model that it belongs to,
makemigrations writes it into a migration, and migrate carries it out in both directions. A changed one is dropped
and created anew, inside the migration's transaction.

Triggers are our own, because those of django-pgtrigger can be switched off by a setting that any session may make,
and cannot run as the owner of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from django.db import models
from django.db.migrations.serializer import BaseSerializer
from django.db.migrations.writer import MigrationWriter

from compliance.tenancy.database_roles import APP, STAFF


@dataclass(frozen=True, slots=True)
class SQL:
    """SQL of several lines. Its indentation does not count, so that models and migrations may differ in it."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", dedent(self.text).strip())

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, name: str) -> SQL:
        """The text of sql/<name>.sql in the one package that has it."""
        [file] = Path(__file__).parents[1].glob(f"*/sql/{name}.sql")
        return cls(file.read_text())


class _SQLSerializer(BaseSerializer):
    """Writes SQL into a migration as lines, where Django would write one long string."""

    def serialize(self) -> tuple[str, set[str]]:
        prefix = "r" if "\\" in self.value.text else ""
        text = indent(self.value.text, "    ")
        return f'compliance.tenancy.schema.SQL({prefix}"""\n{text}\n""")', {"import compliance.tenancy.schema"}


MigrationWriter.register_serializer(SQL, _SQLSerializer)


class DatabaseObject(models.BaseConstraint):
    """Anything that a statement creates, and another drops."""

    parts: tuple[str, ...] = ()  # the arguments beside the name, as makemigrations writes them

    def statements(self, table: str) -> tuple[str, str]:
        """What creates it, and what drops it. table: the model's."""
        raise NotImplementedError

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self.statements(model._meta.db_table)[0]

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self.statements(model._meta.db_table)[1]

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        # No part of CREATE TABLE: it comes once the tables of the migration are there.
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Held by the database alone."""

    def deconstruct(self) -> Any:
        path, args, _ = super().deconstruct()
        given = {part: getattr(self, part) for part in self.parts}
        return path, args, {"name": self.name, **{part: value for part, value in given.items() if value}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseObject) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash(self.name)


class Statement(DatabaseObject):
    """What none of the classes below is for, such as a sequence."""

    parts = ("create", "drop")

    def __init__(self, *, name: str, create: SQL | str, drop: SQL | str) -> None:
        super().__init__(name=name)
        self.create, self.drop = create, drop

    def statements(self, table: str) -> tuple[str, str]:
        return str(self.create), str(self.drop)


class Check(DatabaseObject):
    """A CHECK in SQL, for what a CheckConstraint has no expression for, such as arrays."""

    parts = ("condition",)

    def __init__(self, *, name: str, condition: SQL | str) -> None:
        super().__init__(name=name)
        self.condition = condition

    def statements(self, table: str) -> tuple[str, str]:
        return (
            f"ALTER TABLE {table} ADD CONSTRAINT {self.name} CHECK ({self.condition})",
            f"ALTER TABLE {table} DROP CONSTRAINT {self.name}",
        )


class Reference(DatabaseObject):
    """A foreign key that the database itself acts on, of one or more columns.

    With the organization in it, nothing of one organization can hang on a row of another; with ON DELETE CASCADE,
    what hangs on a deleted organization goes with it, whatever code deletes it (R11).

    columns: such as "runner_id, organization_id". to: the table and its columns, such as "runners (id,
    organization_id)". on_delete: such as "CASCADE". table: whose columns they are; the model's own when empty. A
    package declares a reference of a lower package's table to its own, which the lower one must not know.
    """

    parts = ("table", "columns", "to", "on_delete")

    def __init__(self, *, name: str, columns: str, to: str, on_delete: str = "", table: str = "") -> None:
        super().__init__(name=name)
        self.columns, self.to, self.on_delete, self.table = columns, to, on_delete, table

    def statements(self, table: str) -> tuple[str, str]:
        table = self.table or table
        action = f" ON DELETE {self.on_delete}" if self.on_delete else ""
        return (
            f"ALTER TABLE {table} ADD CONSTRAINT {self.name} FOREIGN KEY ({self.columns}) REFERENCES {self.to}{action}",
            f"ALTER TABLE {table} DROP CONSTRAINT {self.name}",
        )


def deleted_with_organization(name: str) -> Reference:
    """The rows go with their organization, whatever code deletes it (R11). name: of the reference."""
    return Reference(name=name, columns="organization_id", to="organizations (id)", on_delete="CASCADE")


class Privileges(DatabaseObject):
    """What the roles that serve may do with the table. Without one, they may read and write all of it.

    app, staff: such as "SELECT, INSERT, UPDATE (name, hint)"; "" for nothing at all.
    """

    parts = ("app", "staff")

    def __init__(self, *, app: str = "", staff: str = "", name: str = "%(class)s_privileges") -> None:
        super().__init__(name=name)
        self.app, self.staff = app, staff

    def statements(self, table: str) -> tuple[str, str]:
        revoke = f"REVOKE ALL ON {table} FROM {APP}, {STAFF}"
        granted = [f"GRANT {rights} ON {table} TO {role}" for role, rights in self.by_role().items() if rights]
        # What migration 0001 gives to both for every table.
        by_default = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP}, {STAFF}"
        return ";\n".join([revoke, *granted]), f"{revoke};\n{by_default}"

    def by_role(self) -> dict[str, str]:
        return {APP: self.app, STAFF: self.staff}


class Function(DatabaseObject):
    """A function in SQL or PL/pgSQL.

    arguments, returns: as CREATE FUNCTION takes them. language: such as "sql STABLE". as_owner: it runs with the
    rights of the tables' owner, so the bounds on what it may be asked are its own. callers: roles; nobody else may
    call it, and with none only the owner, from other functions. inlined: without a search path of its own, which
    would keep the planner from looking inside. body: the file of its name when it is not given.
    """

    parts = ("arguments", "returns", "language", "as_owner", "callers", "inlined", "body")

    def __init__(
        self,
        *,
        name: str,
        returns: str,
        body: SQL | None = None,
        arguments: str = "",
        language: str = "plpgsql",
        as_owner: bool = False,
        callers: str = "",
        inlined: bool = False,
    ) -> None:
        super().__init__(name=name)
        self.arguments, self.returns, self.language, self.body = arguments, returns, language, body or SQL.of(name)
        self.as_owner, self.callers, self.inlined = as_owner, callers, inlined

    def statements(self, table: str) -> tuple[str, str]:
        signature = f"{self.name}({self.arguments})"
        options = " SECURITY DEFINER" if self.as_owner else ""
        # With the caller's search path, a caller's table of the same name would be taken.
        options += "" if self.inlined else " SET search_path = public, pg_temp"
        create = [
            f"CREATE FUNCTION {signature} RETURNS {self.returns} LANGUAGE {self.language}{options} AS $body$\n"
            f"{self.body}\n$body$",
            f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC",
        ]
        if self.callers:
            create.append(f"GRANT EXECUTE ON FUNCTION {signature} TO {self.callers}")
        return ";\n".join(create), f"DROP FUNCTION {signature}"


class Trigger(DatabaseObject):
    """A trigger, with one function that several share (function) or one of its own (body: the file of its name when
    neither is given).

    event: such as "BEFORE INSERT OR UPDATE". for_each: "ROW" or "STATEMENT". condition: when it fires. as_owner: its
    function runs with the rights of the tables' owner. table: whose trigger; the model's own when empty. A package
    declares a trigger on a lower package's table for what must happen on its own side.
    """

    parts = ("table", "event", "for_each", "condition", "function", "as_owner", "body")

    def __init__(
        self,
        *,
        name: str,
        event: str,
        for_each: str = "ROW",
        condition: str = "",
        function: str = "",
        body: SQL | None = None,
        as_owner: bool = False,
        table: str = "",
    ) -> None:
        super().__init__(name=name)
        self.event, self.for_each, self.condition, self.table = event, for_each, condition, table
        self.function, self.as_owner = function, as_owner
        self.body = None if function else body or SQL.of(name)

    def own_function(self) -> Function | None:
        # Fired by a trigger, it needs no right to be called: whoever had it could hang it on a table of their own.
        if self.body is None:
            return None
        return Function(name=self.name, returns="trigger", body=self.body, as_owner=self.as_owner)

    def statements(self, table: str) -> tuple[str, str]:
        table, own = self.table or table, self.own_function()
        condition = f" WHEN ({self.condition})" if self.condition else ""
        create = (
            f"CREATE TRIGGER {self.name} {self.event} ON {table} FOR EACH {self.for_each}{condition}"
            f" EXECUTE FUNCTION {self.function or self.name}()"
        )
        drop = f"DROP TRIGGER {self.name} ON {table}"
        if own is None:
            return create, drop
        create_own, drop_own = own.statements(table)
        return f"{create_own};\n{create}", f"{drop};\n{drop_own}"


def insert_only(events: str = "UPDATE OR DELETE OR TRUNCATE") -> Trigger:
    """Rows are added and never changed, whoever asks (R1). events: what is refused."""
    return Trigger(
        name="%(class)s_insert_only", event=f"BEFORE {events}", for_each="STATEMENT", function="refuse_change"
    )


def deleted_when_old() -> Trigger:
    """Rows are deleted by the function that forgets old ones, which says so in a setting, and by nobody else."""
    return Trigger(
        name="%(class)s_deleted_when_old",
        event="BEFORE DELETE",
        for_each="STATEMENT",
        condition="current_setting('app.forgetting', true) IS DISTINCT FROM 'on'",
        function="refuse_change",
    )


class View(DatabaseObject):
    """A view that shows whoever asks what the policies of its tables let them see; read-only.

    Always dropped and created: CREATE OR REPLACE would drop security_invoker without a word.
    """

    parts = ("query",)

    def __init__(self, *, name: str, query: SQL | None = None) -> None:
        """query: the file of its name when it is not given."""
        super().__init__(name=name)
        self.query = query or SQL.of(name)

    def statements(self, table: str) -> tuple[str, str]:
        read_only = f"REVOKE INSERT, UPDATE, DELETE ON {self.name} FROM {APP}, {STAFF}"
        create = f"CREATE VIEW {self.name} WITH (security_invoker = true) AS\n{self.query};\n{read_only}"
        return create, f"DROP VIEW {self.name}"
