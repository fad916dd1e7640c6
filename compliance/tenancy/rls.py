"""Row-level security, declared in `Meta.constraints` of the model whose rows it is about.

The policies read the settings that a scope sets (scope.py): unset or empty, they let nobody see anything. They bind
the tables' owner too, so what a function of the owner needs is a policy as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.deconstruct import deconstructible

from compliance.tenancy.database_roles import APP as APP  # the models name it beside their policies
from compliance.tenancy.database_roles import OWNER as OWNER
from compliance.tenancy.database_roles import STAFF
from compliance.tenancy.schema import DatabaseObject
from compliance.tenancy.scope import ORGANIZATION_SETTING, PLATFORM_SETTING, USER_SETTING

# As sub-selects, which the planner asks once a statement and not once a row.
ORGANIZATION = f"nullif((select current_setting('{ORGANIZATION_SETTING}', true)), '')"
USER = f"nullif((select current_setting('{USER_SETTING}', true)), '')::bigint"
PLATFORM = f"coalesce((select current_setting('{PLATFORM_SETTING}', true)), '') = 'on'"


@deconstructible
class Policy:
    """Which rows a role may see (using) and write (check). for_: ALL, SELECT, INSERT, UPDATE or DELETE."""

    def __init__(self, name: str, *, to: str, using: str = "", check: str = "", for_: str = "ALL") -> None:
        self.name, self.to, self.using, self.check, self.for_ = name, to, using, check, for_

    def create(self, table: str) -> str:
        using = f" USING ({self.using})" if self.using else ""
        check = f" WITH CHECK ({self.check})" if self.check else ""
        return f"CREATE POLICY {self.name} ON {table} FOR {self.for_} TO {self.to}{using}{check}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)


class RowLevelSecurity(DatabaseObject):
    """Enables and forces row-level security with these policies; without any, nobody sees a row."""

    parts = ("policies",)

    def __init__(self, policies: Sequence[Policy] = (), *, name: str = "%(class)s_isolation") -> None:
        super().__init__(name=name)
        self.policies = list(policies)

    def statements(self, table: str) -> tuple[str, str]:
        create = [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            *(policy.create(table) for policy in self.policies),
        ]
        drop = [
            *(f"DROP POLICY {policy.name} ON {table}" for policy in self.policies),
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ]
        return ";\n".join(create), ";\n".join(drop)


def own_rows() -> Policy:
    """An organization reads and writes the rows with its key."""
    own = f"organization_id = {ORGANIZATION}"
    return Policy("organization_own", to=APP, using=own, check=own)


def platform_rows(condition: str = "") -> Policy:
    """The platform's own work reads and writes; condition: only these rows."""
    own = f"{condition} AND {PLATFORM}" if condition else PLATFORM
    return Policy("platform_own", to=APP, using=own, check=own)


def staff_reads() -> Policy:
    return Policy("staff_reads", to=STAFF, for_="SELECT", using="true")


def staff_everything() -> Policy:
    return Policy("staff_everything", to=STAFF, using="true", check="true")


def owner_reads(name: str, using: str = "true") -> Policy:
    """What a function that runs as the owner looks for, and no more."""
    return Policy(name, to=OWNER, for_="SELECT", using=using)


def isolated(*more: Policy) -> RowLevelSecurity:
    """The common kind: an organization's own rows, which staff reads; and further policies."""
    return RowLevelSecurity([own_rows(), staff_reads(), *more])
