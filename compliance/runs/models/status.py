"""What is derived from the record: public status, totals, and each organization's last test of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import Count, F, Q
from django.db.models.expressions import RawSQL
from django.utils import timezone

from compliance.registry.models import Agent, Relation, has_agent
from compliance.registry.unicode_hosts import is_found_by
from compliance.runs import functions
from compliance.runs.models.run import OverallStatus
from compliance.tenancy.rls import APP, ORGANIZATION, OWNER, PLATFORM, Policy, RowLevelSecurity, staff_everything
from compliance.tenancy.schema import Privileges

STRIP_LENGTH = 30


class AgentStatus(models.Model):
    """One row an agent, derived from the runs that move a status; written by the database only."""

    agent = models.OneToOneField(
        Agent, on_delete=models.CASCADE, primary_key=True, db_column="agent_url", related_name="status"
    )
    status = models.CharField(max_length=14, choices=OverallStatus.choices)
    since = models.DateTimeField(help_text="The first run of the unbroken streak of this status.")
    last_run_id = models.UUIDField()
    last_run_at = models.DateTimeField()
    last_passed_at = models.DateTimeField(null=True)
    last_failed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "agent_status"
        constraints = [
            RowLevelSecurity(
                [
                    Policy(
                        "registered_agents",
                        to=APP,
                        for_="SELECT",
                        using=f"{PLATFORM} OR {has_agent('agent_status')}",
                    ),
                    staff_everything(),
                    Policy("projection", to=OWNER, using="true", check="true"),
                ]
            ),
            Privileges(app="SELECT", staff="SELECT"),
            functions.STATUS_FROM_RUNS,
            functions.REFRESH_STATUS,
            functions.REBUILD_STATUS,
        ]

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.status}"


class AgentRunTotal(models.Model):
    """How many conclusive, non-dry runs an organization caused on a URL. Kept by a trigger on the runs."""

    pk = models.CompositePrimaryKey("organization_id", "agent_url")
    organization_id = models.CharField(max_length=68)
    agent_url = models.TextField()
    total = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "agent_run_totals"
        constraints = [
            RowLevelSecurity(
                [
                    Policy("organization_own", to=APP, for_="SELECT", using=f"organization_id = {ORGANIZATION}"),
                    staff_everything(),
                    Policy("projection", to=OWNER, using="true", check="true"),
                ]
            ),
            Privileges(app="SELECT", staff="SELECT"),
        ]

    def __str__(self) -> str:
        return f"{self.total} of {self.organization_id} on {self.agent_url}"


class AgentRow(NamedTuple):
    """An agent as a list shows it."""

    id: UUID
    name: str
    agent_id: str
    last_test_run_id: UUID | None
    last_test_status: str | None
    last_test_summary: str | None
    last_tested_at: datetime | None
    total_tests_run: int
    status: str | None
    since: datetime | None
    last_test_with: str | None  # suite, engine and specification of the run that decided it, in words
    status_with: str | None
    verdicts: str  # the statuses of its last tests, the newest first, with blanks between
    last_test_full_suite: bool | None
    inconclusive_since: datetime | None
    inconclusive_summary: str | None  # of the newest test without a verdict, which may be older than the last test
    runner: str | None  # the key and the name of the private runner that ran the last test; None for a hosted worker


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of an organization's agents are in which state of their last test."""

    everything: int
    failing: int
    partial: int
    passing: int
    never: int
    stale: int


class _Rank(models.Func):
    """How soon somebody should look. A template, because Case and When take longer to compile than the query to run."""

    template = "CASE %(expressions)s WHEN 'failing' THEN 0 WHEN 'partial' THEN 1 WHEN 'passing' THEN 3 ELSE 2 END"
    output_field = models.IntegerField()


# Read by an index alone, for the rows of the page only. One text: thirty values each would cost more to take apart.
_VERDICTS = """
    array_to_string(ARRAY(
        SELECT overall_status FROM agent_compliance_runs
        WHERE triggered_org_id = agent_context_with_latest_test.organization_id
            AND agent_url = agent_context_with_latest_test.agent_url
            AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status <> 'inconclusive'
        ORDER BY tested_at DESC, id DESC LIMIT %s
    ), ' ')
"""


# By the run's key, for the rows of the page only.
_RUNNER = """(
    SELECT executor_id || ' ' || executor_name FROM agent_compliance_runs
    WHERE id = agent_context_with_latest_test.last_test_run_id AND executor_kind = 'private'
)"""


# By an index, for the rows of the page only.
_INCONCLUSIVE_SUMMARY = """(
    SELECT headline FROM agent_compliance_runs
    WHERE triggered_org_id = agent_context_with_latest_test.organization_id
        AND agent_url = agent_context_with_latest_test.agent_url
        AND triggered_org_id IS NOT NULL AND NOT dry_run AND overall_status = 'inconclusive'
    ORDER BY tested_at DESC, id DESC LIMIT 1
)"""


def _tested_with(run_id: str) -> RawSQL:
    """With what the run of this key reached its verdict, in words (E12). By the run's key, for the rows of a page."""
    return RawSQL(  # noqa: S611 - a column of our own
        f"""(
            SELECT concat(s.title, ' ', v.version, ', engine ', r.engine_version,
                CASE WHEN r.spec_version <> '' THEN ', specification ' || r.spec_version END)
            FROM agent_compliance_runs r
            JOIN suite_versions v ON v.id = r.suite_version_id JOIN suites s ON s.id = v.suite_id
            WHERE r.id = {run_id}
        )""",  # noqa: S608 - a column of our own
        [],
        models.TextField(),
    )


class LastTestQuerySet(models.QuerySet["AgentContextWithLatestTest"]):
    """Questions about an organization's last tests."""

    def of_organization(self, organization_id: str) -> LastTestQuerySet:
        """Every agent of the organization with its last test and its public status, by name."""
        return self.filter(organization_id=organization_id).select_related("agent__status").order_by("name", "id")

    def with_provenance(self) -> LastTestQuerySet:
        """With `last_test_with` and `status_with`: suite, engine and specification of what decided each (E12)."""
        return self.annotate(
            last_test_with=_tested_with("agent_context_with_latest_test.last_test_run_id"),
            status_with=_tested_with("agent_status.last_run_id"),
        )

    def as_rows(self) -> models.QuerySet[Any, Any]:
        """What a list shows, with the fields of AgentRow: making model instances costs a page more than the query."""
        rows = self.with_provenance().annotate(
            status=F("agent__status__status"),
            since=F("agent__status__since"),
            verdicts=RawSQL(_VERDICTS, [STRIP_LENGTH], models.TextField()),  # noqa: S611 - text of our own
            inconclusive_summary=RawSQL(_INCONCLUSIVE_SUMMARY, [], models.TextField()),  # noqa: S611 - text of our own
            runner=RawSQL(_RUNNER, [], models.TextField()),  # noqa: S611 - text of our own
        )
        return rows.values_list(*AgentRow._fields, named=True)

    def sought(self, text: str) -> LastTestQuerySet:
        """Agents with this in their name or URL, in any case. Host names are found by either of their spellings."""
        found = Q(name__icontains=text) | Q(agent__agent_url__icontains=text)
        # The database knows the ASCII spelling alone, of which no part is that of a part in Unicode.
        international = self.filter(agent__agent_url__contains="xn--").order_by().values_list("pk", "agent_id")
        in_unicode = [key for key, agent_url in international if is_found_by(text, agent_url)]
        return self.filter(found | Q(pk__in=in_unicode))

    def facets(self, *, sought: str = "", stale_days: int) -> Facets:
        """Count the agents by the state of their last test; one query.

        sought: only agents that `sought` finds.
        stale_days: how many days without a test make an agent stale.
        """
        agents = self.sought(sought) if sought else self
        counts = agents.aggregate(
            everything=Count("pk"),
            failing=Count("pk", filter=Q(last_test_status=OverallStatus.FAILING)),
            partial=Count("pk", filter=Q(last_test_status=OverallStatus.PARTIAL)),
            passing=Count("pk", filter=Q(last_test_status=OverallStatus.PASSING)),
            never=Count("pk", filter=Q(last_test_run_id=None)),
            stale=Count("pk", filter=Q(last_tested_at__lt=timezone.now() - timedelta(days=stale_days))),
        )
        return Facets(**counts)

    def never_tested(self) -> LastTestQuerySet:
        return self.filter(last_test_run_id__isnull=True)

    def not_tested_for(self, days: int) -> LastTestQuerySet:
        """Tested once, and not in the last `days` days."""
        return self.filter(last_tested_at__lt=timezone.now() - timedelta(days=days))

    def failing_first(self) -> LastTestQuerySet:
        """Failing, partial, never tested, passing; inside each the newest first."""
        return self.order_by(_Rank(F("last_test_status")), F("last_tested_at").desc(nulls_last=True), "name", "id")


class AgentContextWithLatestTest(models.Model):
    """The view agent_context_with_latest_test: a context and the organization's own last conclusive test (R3, R4).

    And since when its tests came without a verdict, if they did after that one.
    """

    id = models.UUIDField(primary_key=True)
    organization_id = models.CharField(max_length=68)
    agent = models.ForeignKey(Agent, on_delete=models.DO_NOTHING, db_column="agent_url", related_name="+")
    name = models.CharField(max_length=100)
    relation = models.CharField(max_length=14, choices=Relation.choices)
    created_at = models.DateTimeField()
    last_test_run_id = models.UUIDField(null=True)
    last_test_status = models.CharField(max_length=14, choices=OverallStatus.choices, null=True)
    last_test_passed = models.BooleanField(null=True)
    last_test_scenario = models.CharField(max_length=150, null=True)
    last_test_summary = models.CharField(max_length=300, null=True)
    last_tested_at = models.DateTimeField(null=True)
    last_test_full_suite = models.BooleanField(null=True)
    total_tests_run = models.PositiveBigIntegerField()
    inconclusive_since = models.DateTimeField(null=True)

    objects = LastTestQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "agent_context_with_latest_test"

    def __str__(self) -> str:
        return self.name
