"""The record: insert-only, tied to its cause, and the only source of everything derived."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from compliance.engines.reports.model import Evidence
from compliance.engines.reports.text import storable
from compliance.engines.reports.validation import accepted
from compliance.models import Agent, AgentContext, AgentContextWithLatestTest, ComplianceRun, Organization, User
from compliance.pagination import Cursor
from compliance.runs.history import HISTORY, HistoryFilter, history_page, recent_verdicts
from compliance.runs.models import BY_ORGANIZATION, BY_PLATFORM, AgentStatus, StepEvidence
from compliance.runs.recording import UsedCredential
from compliance.runs.status import rebuild_statuses
from compliance.tenancy.actions import create_organization, delete_organization
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import Actor, organization_scope, platform_scope, system_scope
from tests.conftest import AGENT_URL, make_context, make_report, make_run, make_user
from tests.racing import Meanwhile

CHANGES = [
    "UPDATE agent_compliance_runs SET headline = 'better'",
    "DELETE FROM agent_compliance_runs",
    "TRUNCATE agent_compliance_runs",
    "UPDATE step_evidence SET response = NULL",
    "DELETE FROM step_evidence",
    "UPDATE suite_versions SET version = '2'",
    "DELETE FROM suite_versions",
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_app_role_cannot_change_the_record(
    organization: Organization, context: AgentContext, change: str
) -> None:  # R1, A4
    make_run(organization=organization)
    with (
        organization_scope(organization.id),
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change)


@pytest.mark.parametrize("change", CHANGES)
def test_staff_cannot_change_the_record(organization: Organization, context: AgentContext, change: str) -> None:  # R1
    make_run(organization=organization)
    with (
        system_scope(by=Actor.system("tests"), reason="try"),
        pytest.raises(DatabaseError),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change)


@pytest.mark.parametrize(
    ("triggered_by", "with_organization"),
    [
        ("owner_test", False),
        ("observer_test", False),
        ("monitor", False),
        ("heartbeat", True),
        ("manual", True),
        ("webhook", True),
    ],
)
def test_a_run_has_an_organization_exactly_when_its_trigger_says_so(
    organization: Organization, context: AgentContext, triggered_by: str, with_organization: bool
) -> None:  # R2
    run = make_run(organization=organization)
    run.pk, run.triggered_by = None, triggered_by
    run.triggered_org_id = organization.id if with_organization else None
    with (
        system_scope(by=Actor.system("tests"), reason="try"),
        pytest.raises(IntegrityError, match="run_organization_iff_it_caused_it"),
        transaction.atomic(),
    ):
        run.save(force_insert=True)


def test_an_organization_key_of_another_shape_is_refused(organization: Organization, context: AgentContext) -> None:
    run = make_run(organization=organization)
    run.pk, run.triggered_org_id = None, "Robert'); DROP"
    with (
        system_scope(by=Actor.system("tests"), reason="try"),
        pytest.raises(IntegrityError, match="run_organization_shape"),
        transaction.atomic(),
    ):
        run.save(force_insert=True)


def test_a_column_comment_says_why_the_organization_has_no_foreign_key(
    db: None, superuser: psycopg.Connection[Any]
) -> None:
    row = superuser.execute(
        "SELECT col_description('agent_compliance_runs'::regclass, attnum) FROM pg_attribute"
        " WHERE attrelid = 'agent_compliance_runs'::regclass AND attname = 'triggered_org_id'"
    ).fetchone()
    assert row is not None
    assert "outlives" in row[0]


def last_test(organization: Organization) -> AgentContextWithLatestTest:
    with organization_scope(organization.id):
        return AgentContextWithLatestTest.objects.of_organization(organization.id).get()


def test_the_last_test_is_the_organizations_own(
    organization: Organization,
    other_organization: Organization,
    context: AgentContext,
    other_context: AgentContext,
) -> None:  # R3
    mine = make_run("passed", organization=organization)
    before = last_test(organization)
    make_run("failed", organization=other_organization)
    make_run("failed")
    after = last_test(organization)
    assert (after.last_test_run_id, after.last_test_status, after.total_tests_run) == (mine.pk, "passing", 1)
    assert {field.attname: getattr(after, field.attname) for field in after._meta.fields} == {
        field.attname: getattr(before, field.attname) for field in before._meta.fields
    }


def test_the_last_test_fields_say_what_the_run_says(organization: Organization, context: AgentContext) -> None:
    run = make_run("passed", "failed", organization=organization)
    row = last_test(organization)
    assert row.last_test_passed is False
    assert row.last_test_scenario == "Protocol"
    assert row.last_test_summary == run.headline == "1 of 2 checks failed: “Check 1”"
    assert row.last_tested_at == run.tested_at


def test_an_agent_that_was_never_tested_has_empty_fields(organization: Organization, context: AgentContext) -> None:
    row = last_test(organization)
    assert (row.last_test_run_id, row.last_test_passed, row.total_tests_run) == (None, None, 0)


def test_dry_and_inconclusive_runs_are_in_the_history_and_nowhere_else(
    organization: Organization, context: AgentContext
) -> None:  # R4
    conclusive = make_run("passed", organization=organization, triggered_by="owner_test")
    dry = make_run("failed", organization=organization, dry_run=True)
    cut = make_run(organization=organization, report=make_report("failed", truncated=True))
    broken = make_run(organization=organization, report=make_report("passed", harness_error="broke"))
    row = last_test(organization)
    assert (row.last_test_run_id, row.total_tests_run) == (conclusive.pk, 1)
    with organization_scope(organization.id):
        page = history_page(organization_id=organization.id, agent_url=AGENT_URL)
        assert recent_verdicts(organization_id=organization.id, agent_urls=[AGENT_URL]) == {AGENT_URL: ["passing"]}
    assert {run.pk for run in page.rows} == {conclusive.pk, dry.pk, cut.pk, broken.pk}


@pytest.mark.parametrize(
    "report", [make_report("failed", truncated=True), make_report("passed", harness_error="broke")]
)
def test_dry_and_inconclusive_heartbeats_never_move_a_status(context: AgentContext, report: Any) -> None:  # R4
    make_run("passed")
    before = status()
    make_run(report=report)
    make_run("failed", dry_run=True)
    assert status() == before


@pytest.mark.parametrize("fields", [{"truncated": True}, {"harness_error": "it broke"}])
def test_the_database_refuses_a_verdict_from_a_run_cut_short(
    organization: Organization, context: AgentContext, fields: dict[str, Any]
) -> None:  # R7
    run = make_run("failed", organization=organization)
    run.pk = None
    for name, value in fields.items():
        setattr(run, name, value)
    with (
        organization_scope(organization.id),
        pytest.raises(IntegrityError, match="run_cut_short_is_inconclusive"),
        transaction.atomic(),
    ):
        run.save(force_insert=True)


def test_runs_of_the_same_instant_have_one_order_everywhere(
    organization: Organization, context: AgentContext
) -> None:  # R5
    instant = timezone.now() - timedelta(hours=1)
    runs = [make_run(organization=organization, tested_at=instant) for _ in range(7)]
    newest_first = sorted((run.pk for run in runs), reverse=True)
    with organization_scope(organization.id):
        seen = walk(organization, size=2)
    assert seen == newest_first
    assert last_test(organization).last_test_run_id == newest_first[0]


def walk(organization: Organization, *, size: int, narrowed_to: HistoryFilter | None = None) -> list[Any]:
    """All runs of the history, page by page downwards, and the same upwards again."""
    seen, pages, cursor = [], [], None
    while True:
        page = history_page(
            organization_id=organization.id, agent_url=AGENT_URL, cursor=cursor, size=size, narrowed_to=narrowed_to
        )
        pages.append([run.pk for run in page.rows])
        seen += pages[-1]
        if page.next is None:
            break
        cursor = page.next
    upwards = [pages[-1]]
    while page.previous is not None:
        page = history_page(
            organization_id=organization.id,
            agent_url=AGENT_URL,
            cursor=page.previous,
            size=size,
            narrowed_to=narrowed_to,
        )
        upwards.insert(0, [run.pk for run in page.rows])
    assert [pk for part in upwards for pk in part] == seen
    return seen


def test_history_merges_own_runs_and_heartbeats_and_nothing_else(
    organization: Organization,
    other_organization: Organization,
    context: AgentContext,
    other_context: AgentContext,
) -> None:
    now = timezone.now()
    mine, theirs, heartbeats = [], [], []
    for minute in range(5):
        at = now - timedelta(minutes=minute)
        mine.append(make_run(organization=organization, tested_at=at).pk)
        theirs.append(make_run(organization=other_organization, tested_at=at).pk)
        heartbeats.append(make_run(tested_at=at - timedelta(seconds=1)).pk)
    with organization_scope(organization.id):
        seen = walk(organization, size=3)
        only_heartbeats = walk(organization, size=3, narrowed_to=HistoryFilter(triggers=["heartbeat"]))
        only_failing = walk(organization, size=3, narrowed_to=HistoryFilter(statuses=["failing"]))
        recent = walk(organization, size=3, narrowed_to=HistoryFilter(since=now - timedelta(seconds=90)))
    assert seen == [pk for pair in zip(mine, heartbeats, strict=True) for pk in pair]
    assert only_heartbeats == heartbeats
    assert only_failing == []
    assert recent == [mine[0], heartbeats[0], mine[1], heartbeats[1]][:4]


@pytest.mark.parametrize(
    "text", ["", "x", "bm9uc2Vuc2U", "W10", "é", "WyIyMDI2LTAxLTAxIiwgIngiLCAxXQ", "bnVsbA", "W1tb" * 2000]
)
def test_a_damaged_cursor_is_no_cursor(text: str) -> None:
    assert HISTORY.decode(text) is None


def test_a_cursor_survives_its_link() -> None:
    from uuid import uuid4

    cursor = Cursor(timezone.now(), uuid4(), backwards=True)
    assert HISTORY.decode(cursor.encode()) == cursor


def status() -> tuple[Any, ...] | None:
    with platform_scope():
        return AgentStatus.objects.values_list(
            "status", "since", "last_run_id", "last_run_at", "last_passed_at", "last_failed_at"
        ).first()


def test_a_status_tells_since_when_and_the_last_of_each(context: AgentContext) -> None:
    start = timezone.now() - timedelta(days=10)
    days = [start + timedelta(days=day) for day in range(6)]
    for at, verdict in zip(days, ["passed", "failed", "passed", "passed", "failed", "failed"], strict=True):
        last = make_run(verdict, tested_at=at)
    assert status() == ("failing", days[4], last.pk, days[5], days[3], days[5])


def test_partial_is_a_streak_of_its_own_and_counts_as_failed(context: AgentContext) -> None:
    start = timezone.now() - timedelta(days=10)
    make_run("failed", tested_at=start)
    last = make_run("passed", "failed", tested_at=start + timedelta(days=1))
    assert status() == ("partial", last.tested_at, last.pk, last.tested_at, None, last.tested_at)


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("a single scenario", {"full_suite": False}),
        ("a dry run", {"dry_run": True}),
        ("a private runner", {"executor_kind": "private", "executor_name": "lab"}),
        ("an observer's test", {"triggered_by": "observer_test"}),
        ("a monitor", {"triggered_by": "monitor"}),
    ],
)
def test_what_must_not_move_a_status_does_not(
    organization: Organization, what: str, fields: dict[str, Any]
) -> None:  # R10
    make_context(organization, verified=True)
    make_run("passed")
    before = status()
    make_run("failed", **{"organization": organization, "triggered_by": "owner_test", **fields})
    assert status() == before, what


def test_an_owner_test_moves_the_status_only_for_a_verified_owner(
    organization: Organization, other_organization: Organization
) -> None:
    make_context(organization, verified=True)
    make_context(other_organization)
    make_run("passed")
    make_run("failed", organization=other_organization, triggered_by="owner_test")
    assert status()[0] == "passing"  # type: ignore[index]
    make_run("failed", organization=organization, triggered_by="owner_test")
    assert status()[0] == "failing"  # type: ignore[index]


def rebuild(mend: bool = False) -> list[Any]:
    with system_scope(by=Actor.system("tests"), reason="rebuild"), connection.cursor() as cursor:
        cursor.execute("SELECT agent_url FROM rebuild_agent_status(%s)", [mend])
        return cursor.fetchall()


def test_the_rebuilt_status_equals_the_stored_one_also_after_late_runs(
    organization: Organization, other_organization: Organization
) -> None:  # R9
    import random

    make_context(organization, verified=True)
    make_context(other_organization, verified=True)
    make_context(organization, "https://quiet.example/mcp")
    generator = random.Random(7)
    start = timezone.now() - timedelta(days=30)
    for _ in range(60):
        at = start + timedelta(hours=generator.randrange(40))
        verdicts = generator.choice([["passed"], ["failed"], ["passed", "failed"], ["silent"]])
        who = generator.choice([None, organization, other_organization])
        make_run(*verdicts, organization=who, triggered_by="owner_test" if who else "heartbeat", tested_at=at)
        assert rebuild() == []
    assert status() == derived_by_hand()


def derived_by_hand() -> tuple[Any, ...]:
    """The same answer from the plain list of runs, in Python: not the code under test."""
    with system_scope(by=Actor.system("tests"), reason="compare"):
        runs = list(ComplianceRun.objects.filter(agent_url=AGENT_URL, moves_status=True).order_by("tested_at", "id"))
    since = runs[0].tested_at
    for earlier, later in itertools.pairwise(runs):
        if earlier.overall_status != later.overall_status:
            since = later.tested_at
    passed = [run.tested_at for run in runs if run.overall_status == "passing"]
    failed = [run.tested_at for run in runs if run.overall_status in ("failing", "partial")]
    return (
        runs[-1].overall_status,
        since,
        runs[-1].pk,
        runs[-1].tested_at,
        max(passed, default=None),
        max(failed, default=None),
    )


def test_rebuilding_finds_and_mends_what_differs(
    context: AgentContext, superuser: psycopg.Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:  # R9
    make_run("passed")
    good = status()
    with connection.cursor() as cursor:  # as nothing in the application can
        cursor.execute("RESET ROLE")
    assert rebuild() == []
    with system_scope(by=Actor.system("tests"), reason="x"), pytest.raises(DatabaseError), transaction.atomic():
        AgentStatus.objects.update(status="failing")
    assert status() == good


def test_deleting_an_organization_makes_its_runs_unreachable(
    alice: User,
    organization: Organization,
    other_organization: Organization,
    context: AgentContext,
    other_context: AgentContext,
    superuser: psycopg.Connection[Any],
) -> None:  # R11
    key, run = organization.id, make_run(organization=organization)
    delete_organization(organization=organization, by=alice)
    with organization_scope(other_organization.id):
        assert not ComplianceRun.objects.filter(pk=run.pk).exists()
    with platform_scope():
        assert not ComplianceRun.objects.filter(pk=run.pk).exists()
    with system_scope(by=Actor.system("tests"), reason="look"):
        assert ComplianceRun.objects.get(pk=run.pk).triggered_org_id == key
    with organization_scope(key), pytest.raises(DatabaseError, match="cannot be used again"), transaction.atomic():
        Organization.objects.create(id=key, name="Impostor", slug="impostor")


def test_a_run_of_another_organization_and_its_evidence_are_not_readable(
    organization: Organization,
    other_organization: Organization,
    context: AgentContext,
    other_context: AgentContext,
) -> None:
    evidence = Evidence(request={"a": 1}, response={"b": 2})
    run = make_run(organization=organization, report=make_report("failed", evidence=evidence))
    with organization_scope(other_organization.id):
        assert not ComplianceRun.objects.filter(pk=run.pk).exists()
        assert not StepEvidence.objects.filter(run_id=run.pk).exists()
    with organization_scope(organization.id):
        assert StepEvidence.objects.get(run_id=run.pk).response == {"b": 2}


def test_evidence_of_a_heartbeat_is_for_verified_owners(
    organization: Organization, other_organization: Organization
) -> None:
    make_context(organization, verified=True)
    make_context(other_organization)
    run = make_run(report=make_report("failed", evidence=Evidence(None, {"b": 2})))
    for who, count in ((organization, 1), (other_organization, 0)):
        with organization_scope(who.id):
            assert ComplianceRun.objects.filter(pk=run.pk).exists()
            assert StepEvidence.objects.filter(run_id=run.pk).count() == count


def test_evidence_of_a_heartbeat_with_a_credential_is_for_the_one_who_gave_it(
    organization: Organization, other_organization: Organization
) -> None:
    make_context(organization, verified=True)
    make_context(other_organization)
    run = make_run(
        report=make_report("failed", evidence=Evidence(None, {"b": 2})),
        credential=UsedCredential(other_organization.id, uuid7(), "staging key"),
    )
    for who, count in ((organization, 0), (other_organization, 1)):
        with organization_scope(who.id):
            assert StepEvidence.objects.filter(run_id=run.pk).count() == count


def test_a_heartbeat_of_an_agent_that_one_does_not_have_is_not_readable(
    organization: Organization, other_organization: Organization, context: AgentContext
) -> None:
    run = make_run()
    with organization_scope(other_organization.id):
        assert not ComplianceRun.objects.filter(pk=run.pk).exists()


def test_one_job_has_one_run(organization: Organization, context: AgentContext) -> None:
    from uuid import uuid4

    job_id = uuid4()
    make_run(organization=organization, job_id=job_id)
    with pytest.raises(IntegrityError):
        make_run(organization=organization, job_id=job_id)


def test_what_an_agent_says_is_stored_whatever_it_holds(organization: Organization, context: AgentContext) -> None:
    nasty = "nul \x00, lone surrogate \ud800, RTL \u202e, emoji \U0001f600"
    evidence = Evidence(request={nasty: float("nan")}, response=[float("inf"), nasty])
    report = make_report("failed", evidence=evidence, harness_error=nasty)
    run = make_run(organization=organization, report=accepted(report, engine="baseline", suite="baseline"))
    with organization_scope(organization.id):
        stored = StepEvidence.objects.get(run_id=run.pk)
    assert stored.response[0] == "inf"
    assert stored.response[1] == "nul \u2400, lone surrogate ?, RTL \u202e, emoji \U0001f600"


def test_storable_leaves_plain_values_alone() -> None:
    value = {"a": [1, 2.5, True, None, "text", {"b": "ü"}]}
    assert storable(value) == value


def test_a_clock_in_the_future_is_brought_back_to_now(organization: Organization, context: AgentContext) -> None:
    run = make_run(organization=organization, tested_at=timezone.now() + timedelta(days=400))
    assert run.tested_at <= timezone.now()


def test_a_run_keeps_its_actor_by_the_name_of_the_time(
    alice: User, organization: Organization, context: AgentContext
) -> None:
    run = make_run(organization=organization)
    alice.name = "Renamed"
    alice.save()
    with organization_scope(organization.id):
        assert ComplianceRun.objects.get(pk=run.pk).actor_name == "Alice Owner"


def test_every_verdict_has_a_count_of_its_own(organization: Organization, context: AgentContext) -> None:  # R6
    verdicts = (
        ["passed"] * 6 + ["failed"] * 5 + ["skipped"] * 4 + ["silent"] * 3 + ["not_applicable"] * 2 + ["not_tested"]
    )
    run = make_run(*verdicts, organization=organization)
    assert run.counts == {
        "passed": 6,
        "failed": 5,
        "skipped": 4,
        "silent": 3,
        "not_applicable": 2,
        "not_tested": 1,
    }


@pytest.mark.parametrize("verdict", ["skipped", "silent", "not_applicable", "not_tested"])
def test_what_is_not_judged_neither_passes_nor_fails(verdict: str) -> None:  # R6
    assert make_report("passed", verdict).overall() == "passing"
    assert make_report("failed", verdict).overall() == "failing"
    assert make_report(verdict).overall() == "inconclusive"


def test_a_headline_does_not_pass_over_what_was_left_out() -> None:  # R6
    assert make_report("passed", "passed").headline() == "All 2 checks passed"
    assert (
        make_report("passed", "skipped", "skipped", "not_applicable").headline() == "The only check passed, 2 skipped"
    )


def test_a_scenario_key_keeps_its_slashes(organization: Organization, context: AgentContext) -> None:  # R12
    run = make_run(organization=organization)
    with organization_scope(organization.id):
        stored = ComplianceRun.objects.get(pk=run.pk)
    assert stored.tracks_json[0]["scenarios"][0]["key"] == "protocol/basic"


def test_an_observer_cannot_record_a_run_as_a_verified_owner(
    organization: Organization, context: AgentContext, other_organization: Organization
) -> None:
    """Such a run would move the agent's public status; the code asks who it is, and the database asks again."""
    make_context(other_organization, verified=True)
    run = make_run(organization=organization, triggered_by="owner_test")
    assert not run.moves_status
    run.pk, run.by_verified_owner = uuid7(), True
    with (
        organization_scope(organization.id),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        run.save(force_insert=True)
    assert make_run(organization=other_organization, triggered_by="owner_test").moves_status


def test_a_part_of_a_suite_moves_no_status_whichever_of_job_and_report_says_so(
    organization: Organization,
) -> None:  # R10
    make_context(organization, verified=True)
    for report_is_full, job_is_full in [(False, True), (True, False)]:
        run = make_run(
            organization=organization,
            triggered_by="owner_test",
            report=replace(make_report("passed"), full=report_is_full),
            full_suite=job_is_full,
        )
        assert (run.full_suite, run.moves_status) == (False, False)


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_last_of_two_tests_of_one_instant_is_the_same_by_any_plan(
    organization: Organization, context: AgentContext, newest_first: bool
) -> None:  # R5
    """An index happens to have the order of the tie-breaker; without the index the view has to ask for it."""
    now = timezone.now()
    keys = sorted((uuid7() for _ in range(6)), reverse=newest_first)
    for key in keys:
        make_run(organization=organization, tested_at=now, run_id=key)
    with organization_scope(organization.id), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, 'off', true) FROM pg_settings"
            " WHERE name IN ('enable_indexscan', 'enable_indexonlyscan', 'enable_bitmapscan')"
        )
        found = AgentContextWithLatestTest.objects.of_organization(organization.id).get()
    assert found.last_test_run_id == max(keys)


def test_a_run_waits_for_one_that_is_not_committed_before_it_moves_the_status(
    committed_db: None, superuser: psycopg.Connection[Any]
) -> None:  # R9
    """Both look at the runs; the one that looks while the other is still invisible must not have the last word."""
    make_context(create_organization(name="Alpha", by=make_user("alice@example.org", "Alice Owner")))
    now = timezone.now()
    with platform_scope():
        make_run("passed", tested_at=now)
        older = Meanwhile(lambda: make_run("failed", tested_at=now - timedelta(hours=1)))
        assert older.waits(superuser), "it should wait for the run that is not committed"
    assert isinstance(older.outcome(), ComplianceRun), older.outcome()
    with platform_scope():
        assert AgentStatus.objects.get().status == "passing"
    assert rebuild_statuses(mend=False, by=Actor.system("tests")) == []


def down(organization: Organization, narrowed_to: HistoryFilter) -> tuple[list[Any], int]:
    """The runs of all pages downwards, and how many pages ended before a full one was found."""
    seen, cut, cursor = [], 0, None
    while True:
        page = history_page(
            organization_id=organization.id, agent_url=AGENT_URL, cursor=cursor, size=2, narrowed_to=narrowed_to
        )
        seen += [run.pk for run in page.rows]
        cut += page.searched_to is not None
        if page.next is None:
            return seen, cut
        cursor = page.next


@pytest.mark.parametrize(
    "narrowed_to",
    [
        HistoryFilter(statuses=["failing"]),
        HistoryFilter(triggers=["monitor"]),
        HistoryFilter(triggers=["heartbeat"], statuses=["failing"]),
        HistoryFilter(triggers=["observer_test", "heartbeat"], statuses=["failing"]),
        HistoryFilter(suite="no-such-suite"),
    ],
)
def test_a_filter_that_matches_little_looks_on_page_by_page_and_misses_nothing(
    organization: Organization, context: AgentContext, narrowed_to: HistoryFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.runs.history.SEARCH_AT_MOST", 3)
    now = timezone.now()
    made = [
        make_run(
            "failed" if number % 7 == 0 else "passed",
            organization=organization if number % 3 else None,
            tested_at=now - timedelta(minutes=number // 2),  # pairs of one instant
        )
        for number in range(30)
    ]
    wanted = [
        run
        for run in made
        if (not narrowed_to.triggers or run.triggered_by in narrowed_to.triggers)
        and (not narrowed_to.statuses or run.overall_status in narrowed_to.statuses)
        and not narrowed_to.suite
    ]
    wanted.sort(key=lambda run: (run.tested_at, run.pk), reverse=True)
    with organization_scope(organization.id):
        seen, cut = down(organization, narrowed_to)
    assert seen == [run.pk for run in wanted]
    assert cut > 1


def test_the_whole_history_and_whole_kinds_are_never_cut(
    organization: Organization, context: AgentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance.runs.history.SEARCH_AT_MOST", 3)
    for minute in range(6):
        make_run(organization=organization, tested_at=timezone.now() - timedelta(minutes=minute))
        make_run(tested_at=timezone.now() - timedelta(minutes=minute))
    with organization_scope(organization.id):
        for triggers, count in (((), 12), (BY_ORGANIZATION, 6), (BY_PLATFORM, 6)):
            seen, cut = down(organization, HistoryFilter(triggers=triggers))
            assert (len(seen), cut) == (count, 0)
            assert walk(organization, size=2, narrowed_to=HistoryFilter(triggers=triggers)) == seen


def test_another_suite_than_the_baseline_moves_no_public_status(organization: Organization) -> None:  # R10
    make_context(organization, verified=True)
    make_run("failed")
    whole = replace(make_report("passed"), suite="mcp-conformance")
    run = make_run(organization=organization, triggered_by="owner_test", report=whole)
    with organization_scope(organization.id):
        run.refresh_from_db()
        assert run.full_suite
        assert not run.moves_status
        assert AgentStatus.objects.get(pk=AGENT_URL).status == "failing"
    make_run(organization=organization, triggered_by="owner_test", report=make_report("passed"))
    with organization_scope(organization.id):
        assert AgentStatus.objects.get(pk=AGENT_URL).status == "passing"


_NOT_PROVEN: list[dict[str, Any]] = [
    {"protocol": ""},
    {"protocol": "smoke-signals"},
    {"protocol_version": ""},  # a suite's own protocol, and no handshake
    {"overall_status": "inconclusive"},
    {"executor_kind": "runner"},  # a private runner proves things to its own organization
]


@pytest.mark.parametrize("changes", _NOT_PROVEN, ids=str)
def test_run_finds_a_protocol_only_if_it_proves_one(changes: dict[str, Any]) -> None:  # E5
    proof = {"overall_status": "failing", "protocol": "mcp", "protocol_version": "2025-11-25", "beside_status": False}
    assert ComplianceRun(**proof).found_protocol(Agent(protocol=""))
    assert not ComplianceRun(**proof | changes).found_protocol(Agent(protocol=""))


def test_protocol_on_record_is_corrected_by_the_baseline_alone() -> None:  # E5
    proof = {"overall_status": "failing", "protocol": "mcp", "protocol_version": "2025-11-25"}
    assert ComplianceRun(**proof, beside_status=False).found_protocol(Agent(protocol="a2a"))
    assert not ComplianceRun(**proof, beside_status=True).found_protocol(Agent(protocol="a2a"))
    assert not ComplianceRun(**proof, beside_status=False).found_protocol(Agent(protocol="mcp"))
