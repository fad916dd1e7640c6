"""How the API answers: problems, pages, ETags, limits, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError
from django.utils import timezone

from compliance.jobs.completion import complete_job
from compliance.jobs.queue import lease_job
from compliance.models import Organization, User
from compliance.monitors.models import Outcome
from compliance.tenancy.ids import uuid7
from dashboard.api import limits
from tests.compliance.monitors.conftest import finish, jobs_of, make_monitor
from tests.compliance.runners.conftest import make_runner
from tests.conftest import make_context, make_report, make_run
from tests.dashboard.api.conftest import Caller, Things, make_key


def is_problem(answer: Any, status: int, kind: str) -> bool:
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.data["status"] == answer.status_code
    assert answer.data["title"]
    assert answer.data["detail"]
    assert answer["Cache-Control"] == "no-store"
    return (answer.status_code, answer.data["type"]) == (status, f"/problems/{kind}")


class TestProblems:
    @pytest.mark.parametrize("path", ["/nothing", "/agents/", "/", "/agents/not-a-uuid", "/runs/%00"])
    def test_an_address_that_is_none(self, alphas: Caller, path: str) -> None:
        assert is_problem(alphas.get(path), 404, "not-found")

    def test_outside_of_the_version_too(self, client: Any) -> None:
        answer = client.get("/api/v0/agents")
        answer.data = answer.json()
        assert is_problem(answer, 404, "not-found")

    def test_a_method_that_is_not_taken_is_told_which_are(self, alphas: Caller) -> None:
        answer = alphas("DELETE", "/agents")
        assert is_problem(answer, 405, "method-not-allowed")
        assert {each.strip() for each in answer["Allow"].split(",")} == {"GET", "POST"}

    def test_a_body_of_another_kind(self, alphas: Caller) -> None:
        answer = alphas._client.generic(
            "POST", "/api/v1/agents", b"agent_url=x", "application/x-www-form-urlencoded", **alphas._environ
        )
        answer.data = answer.json()
        assert is_problem(answer, 415, "unsupported-media-type")

    @pytest.mark.parametrize("body", [b"{", b"\xff", b'{"agent_url": NaN}', b"[" * 100_000, b'"\\ud800"', b"1e999"])
    def test_a_body_that_cannot_be_read(self, alphas: Caller, body: bytes) -> None:
        answer = alphas._client.generic("POST", "/api/v1/agents", body, "application/json", **alphas._environ)
        assert answer.status_code in (400, 422)
        assert answer["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (
                b'{\n  "agent_url": secret-value}',
                "The body is not valid JSON: Expecting value at line 2, column 16.",
            ),
            (b"{}x", "The body is not valid JSON: Extra data at line 1, column 3."),
            (b'"\xff"', "The body is not valid JSON: it is no text in UTF-8, from its byte 2 on."),
            (b"9" * 5000, "The body is not valid JSON, or holds a number that is too long to be read."),
        ],
    )
    def test_a_body_that_is_no_json_is_told_so_and_where(self, alphas: Caller, body: bytes, detail: str) -> None:
        answer = alphas._client.generic("POST", "/api/v1/agents", body, "application/json", **alphas._environ)
        answer.data = answer.json()
        assert is_problem(answer, 400, "bad-request")
        assert answer.data["detail"] == detail

    def test_a_body_that_is_too_large_is_not_read(self, alphas: Caller, settings: Any) -> None:
        answer = alphas.post("/agents", {"agent_url": "https://a.example/", "name": "x" * 1024 * 300})
        assert is_problem(answer, 413, "too-large")

    def test_what_is_wrong_is_named_with_its_place_and_not_repeated(self, alphas: Caller, things: Things) -> None:
        body = {"agent_id": "secret-value", "schedule": {"cron": 5}, "nmae": "x"}
        answer = alphas.post("/monitors", body)
        assert is_problem(answer, 422, "invalid")
        found = {(error["where"], error["field"]) for error in answer.data["errors"]}
        assert found == {("body", "name"), ("body", "agent_id"), ("body", "schedule.cron"), ("body", "nmae")}
        assert "secret-value" not in answer.content.decode()

    def test_a_filter_that_there_is_not_is_named(self, alphas: Caller) -> None:
        answer = alphas.get("/runs?statsu=failing")
        assert is_problem(answer, 422, "invalid")
        assert answer.data["errors"][0]["field"] == "statsu"

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "cursor=x", "since=2026-11-21", "status=fine"]
    )
    def test_a_value_that_is_none(self, alphas: Caller, query: str) -> None:
        answer = alphas.get(f"/runs?{query}")
        assert is_problem(answer, 422, "invalid")
        assert [(error["where"], error["field"].split(".")[0]) for error in answer.data["errors"]] == [
            ("query", query.split("=")[0])
        ]

    def test_a_choice_that_there_is_not_is_one_mistake_of_its_field_and_lists_them(self, alphas: Caller) -> None:
        answer = alphas.get("/decisions?outcome=zzz")
        assert is_problem(answer, 422, "invalid")
        [wrong] = answer.data["errors"]
        assert (wrong["where"], wrong["field"]) == ("query", "outcome")
        assert wrong["detail"] == f"Input should be {', '.join(Outcome.values)}, or not_allowed"

    def test_a_value_of_none_of_a_fields_kinds_is_one_mistake_of_it(self, alphas: Caller, things: Things) -> None:
        body = {"credential": "secret-value", "options": {"bool": {"deep": 1}, "some": [1]}}
        answer = alphas.post(f"/agents/{things.context.pk}/tests", body)
        assert is_problem(answer, 422, "invalid")
        assert [(wrong["field"], wrong["detail"][:24]) for wrong in answer.data["errors"]] == [
            ("options.bool", "Input should be true, fa"),
            ("options.some", "Input should be true, fa"),
            ("credential", "Input should be “automat"),
        ]
        assert "secret-value" not in answer.content.decode()

    def test_an_address_of_no_agent(self, alphas: Caller) -> None:
        answer = alphas.post("/agents", {"agent_url": "ftp://agent.example"})
        assert is_problem(answer, 422, "invalid")
        assert answer.data["errors"][0]["field"] == "agent_url"

    def test_an_agent_that_is_there_is_named(self, alphas: Caller, things: Things) -> None:
        answer = alphas.post("/agents", {"agent_url": things.context.agent_id})
        assert is_problem(answer, 409, "already-registered")
        assert answer.data["id"] == str(things.context.pk)

    @pytest.mark.parametrize(
        ("schedule", "field", "why"),
        [
            ({"cron": "99 * * * *"}, "schedule.cron", "bad minute"),
            ({"cron": "* * *"}, "schedule.cron", "has five fields"),
            ({"cron": "* * * * *"}, "schedule.cron", "minutes apart"),
            ({"cron": "0 9 * * *", "timezone": "Mars/Base"}, "schedule.timezone", "There is no timezone “Mars/Base”."),
            ({"interval_minutes": 1}, "schedule.interval_minutes", "The interval must be"),
            ({"interval_minutes": 60, "cron": "0 9 * * *"}, "schedule", "Choose either"),
            ({}, "schedule", "Choose either"),
        ],
    )
    def test_a_bad_schedule_says_why_and_which_field_it_is(
        self, alphas: Caller, things: Things, schedule: dict[str, Any], field: str, why: str
    ) -> None:
        body = {"name": "Bad", "agent_id": str(things.context.pk), "schedule": schedule}
        answer = alphas.post("/monitors", body)
        assert is_problem(answer, 422, "invalid")
        [wrong] = answer.data["errors"]
        assert wrong["field"] == field
        assert why in wrong["detail"]

    def test_a_database_that_is_away_is_503_and_says_when_to_come_back(
        self, alphas: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(token: str) -> None:
            raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr("dashboard.api.authentication.actor_of", away)
        answer = alphas.get("/agents")
        assert is_problem(answer, 503, "unavailable")
        assert int(answer["Retry-After"]) > 0
        assert "server closed" not in answer.content.decode()

    def test_a_host_that_is_not_ours_is_a_problem_too(self, alphas: Caller) -> None:
        assert is_problem(alphas.get("/agents", HTTP_HOST="evil.example"), 400, "bad-request")

    @pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer a b", "Token x", "Bearer \x00", "bearer x"])
    def test_a_header_that_shows_no_key(self, header: str, db: None) -> None:
        answer = Caller().get("/agents", HTTP_AUTHORIZATION=header)
        assert is_problem(answer, 401, "unauthorized")

    def test_a_key_in_the_address_is_no_key(self, organization: Organization, alice: User) -> None:
        _, token = make_key(organization, alice)
        for name in ("key", "token", "access_token", "api_key"):
            assert Caller().get(f"/agents?{name}={token}").status_code == 401


class TestLeftAlone:
    def test_no_cookie_is_set_and_no_session_is_read(self, alphas: Caller, things: Things, queries: Any) -> None:
        with queries() as asked:
            answer = alphas.get("/agents")
        assert not answer.cookies
        assert "Cookie" not in answer.get("Vary", "")
        assert not [sql for sql in asked if "django_session" in sql or '"users"' in sql]

    def test_a_post_needs_no_token_of_a_form(self, organization: Organization, alice: User) -> None:
        from django.test import Client

        caller = Caller(make_key(organization, alice)[1])
        caller._client = Client(enforce_csrf_checks=True)
        assert caller.post("/agents", {"agent_url": "https://new.example/mcp"}).status_code == 201

    def test_head_is_get_without_a_body(self, alphas: Caller, things: Things) -> None:
        got, head = alphas.get("/agents"), alphas("HEAD", "/agents")
        assert (head.status_code, head.content, head["ETag"]) == (200, b"", got["ETag"])

    def test_pages_for_people_are_as_they_were(self, client: Any, db: None) -> None:
        assert client.get("/nothing/").headers["Content-Type"].startswith("text/html")


class TestETags:
    @pytest.mark.parametrize("path", ["/agents", "/runs", "/monitors", "/decisions", "/suites", "/agents/{agent}"])
    def test_what_is_the_same_is_304_and_what_changed_is_not(
        self, alphas: Caller, things: Things, organization: Organization, path: str, alice: User
    ) -> None:
        path = path.format(agent=things.context.pk)
        first = alphas.get(path)
        assert first["Cache-Control"] == "private, no-cache"
        assert "Authorization" in first["Vary"]
        for known in (first["ETag"], f"W/{first['ETag']}", f'"other", {first["ETag"]}', "*"):
            again = alphas.get(path, HTTP_IF_NONE_MATCH=known)
            assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
        assert alphas.get(path, HTTP_IF_NONE_MATCH='"other"').status_code == 200
        if path == "/suites":
            return
        finish(jobs_of(organization)[0], "passed")
        make_context(organization, "https://another.example/mcp")
        changed = alphas.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
        assert (changed.status_code, changed["ETag"] != first["ETag"]) == (200, True) or path == "/decisions"

    def test_a_job_is_polled_until_its_run_is_there(
        self, alphas: Caller, things: Things, organization: Organization
    ) -> None:
        path = f"/jobs/{things.job.pk}"
        known = alphas.get(path)
        assert known.data["state"] == "queued"
        assert alphas.get(path, HTTP_IF_NONE_MATCH=known["ETag"]).status_code == 304
        lease = lease_job(things.job.pk, organization.id)
        assert lease is not None
        run = complete_job(lease, make_report("passed"))
        done = alphas.get(path, HTTP_IF_NONE_MATCH=known["ETag"])
        assert (done.data["state"], done.data["run_id"]) == ("finished", str(run.pk))
        report = alphas.get(f"/runs/{run.pk}").data
        assert (report["overall_status"], report["counts"]["passed"]) == ("passing", 1)

    def test_an_answer_to_a_change_is_kept_by_nobody(self, alphas: Caller, things: Things) -> None:
        answer = alphas.post(f"/agents/{things.context.pk}/tests", {"dry_run": True})
        assert (answer.status_code, answer["Cache-Control"], "ETag" in answer) == (202, "no-store", False)


def walked(caller: Caller, path: str) -> list[str]:
    """The ids of a list, page by page as the links lead."""
    ids: list[str] = []
    while True:
        answer = caller.get(path)
        assert answer.status_code == 200, answer.data
        ids += [item["id"] for item in answer.data["items"]]
        if answer.data["next"] is None:
            assert "Link" not in answer
            return ids
        link, relation = answer["Link"].split("; ")
        assert relation == 'rel="next"'
        parts = urlsplit(link[1:-1])
        path = f"{parts.path.removeprefix('/api/v1')}?{parts.query}"


class TestPages:
    def test_agents_are_walked_once_each(self, alphas: Caller, organization: Organization) -> None:
        made = [make_context(organization, f"https://agent-{n}.example/mcp") for n in range(7)]
        assert walked(alphas, "/agents?limit=3") == [str(each.pk) for each in made]

    def test_runs_are_walked_newest_first_though_they_ended_at_once(
        self, alphas: Caller, organization: Organization
    ) -> None:  # R5
        at = datetime(2026, 11, 1, tzinfo=UTC)
        runs = [make_run(organization=organization, tested_at=at) for _ in range(7)]
        assert walked(alphas, "/runs?limit=3") == sorted((str(run.pk) for run in runs), reverse=True)

    def test_monitors_and_decisions_are_walked(
        self, alphas: Caller, things: Things, organization: Organization, alice: User
    ) -> None:
        made = [make_monitor(organization, things.context, alice, name=f"Number {n}") for n in range(4)]
        assert walked(alphas, "/monitors?limit=2") == [str(each.pk) for each in (things.monitor, *made)]
        for monitor in made:
            assert alphas.post(f"/monitors/{monitor.pk}/run").status_code in (202, 409)
        assert len(set(walked(alphas, "/decisions?limit=2"))) == 5

    def test_suites_are_walked_as_other_lists_are_and_come_whole_without_a_limit(self, alphas: Caller) -> None:
        whole = alphas.get("/suites").data
        slugs = [item["slug"] for item in whole["items"]]
        assert whole["next"] is None
        assert "baseline" in slugs
        found: list[str] = []
        page = alphas.get("/suites?limit=30")
        while page.data["next"] is not None:
            found += [item["slug"] for item in page.data["items"]]
            assert 'rel="next"' in page["Link"]
            page = alphas.get(f"/suites?limit=30&cursor={page.data['next']}")
        assert [*found, *(item["slug"] for item in page.data["items"])] == slugs
        for wrong in ("limit=0", "limit=101", "limit=many", "cursor=nowhere", "cursor=%FF", "cursor=bm8tc3VjaA"):
            assert alphas.get(f"/suites?{wrong}").status_code == 422, wrong

    def test_what_is_added_meanwhile_moves_nothing(self, alphas: Caller, organization: Organization) -> None:
        runs = [make_run(organization=organization) for _ in range(4)]
        page = alphas.get("/runs?limit=2").data
        make_run(organization=organization)
        rest = alphas.get(f"/runs?limit=2&cursor={page['next']}").data
        assert [item["id"] for item in rest["items"]] == [str(run.pk) for run in reversed(runs[:2])]

    @pytest.mark.parametrize(
        ("query", "count"),
        [("status=failing", 1), ("status=failing&status=passing", 2), ("suite=baseline", 3), ("suite=nothing", 0)],
    )
    def test_runs_are_narrowed(self, alphas: Caller, organization: Organization, query: str, count: int) -> None:
        for verdict in ("passed", "failed", "silent"):
            make_run(verdict, organization=organization)
        assert len(alphas.get(f"/runs?{query}").data["items"]) == count

    def test_runs_of_a_time(self, alphas: Caller, organization: Organization) -> None:
        at = timezone.now() - timedelta(days=3)
        run = make_run(organization=organization, tested_at=at)
        make_run(organization=organization)
        until = (at + timedelta(days=1)).isoformat().replace("+00:00", "Z")
        assert [item["id"] for item in alphas.get(f"/runs?until={until}").data["items"]] == [str(run.pk)]

    def test_what_the_platform_caused_is_asked_of_an_agent(self, alphas: Caller, things: Things) -> None:
        make_run("passed")
        answer = alphas.get("/runs?triggered_by=heartbeat")
        assert (answer.status_code, answer.data["errors"][0]["field"]) == (422, "agent")
        found = alphas.get(f"/runs?triggered_by=heartbeat&agent={things.context.pk}").data["items"]
        assert [item["triggered_by"] for item in found] == ["heartbeat"]

    @pytest.mark.parametrize("path", ["/agents", "/runs", "/monitors", "/decisions"])
    def test_a_list_takes_as_many_queries_with_many_as_with_one(
        self, alphas: Caller, things: Things, organization: Organization, alice: User, queries: Any, path: str
    ) -> None:
        alphas.get(path)
        with queries() as few:
            alphas.get(path)
        for n in range(5):
            context = make_context(organization, f"https://agent-{n}.example/mcp")
            make_run(organization=organization, agent_url=context.agent_id)
            monitor = make_monitor(organization, context, alice, name=f"Number {n}")
            alphas.post(f"/monitors/{monitor.pk}/run")
        with queries() as many:
            assert len(alphas.get(path).data["items"]) == 6
        assert len(many) == len(few) <= 7


class TestLimits:
    @pytest.fixture
    def limited(self, settings: Any, organization: Organization, alice: User) -> Iterator[Callable[[], Caller]]:
        settings.API_RATE_PER_MINUTE = 3
        return lambda: Caller(make_key(organization, alice)[1])

    def test_each_answer_tells_how_many_are_left_and_the_one_too_many_when_to_come_back(
        self, limited: Callable[[], Caller]
    ) -> None:
        caller = limited()
        left = [caller.get("/agents")["RateLimit-Remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        answer = caller.get("/agents")
        assert is_problem(answer, 429, "too-many-requests")
        assert answer["RateLimit-Limit"] == "3"
        assert 50 <= int(answer["Retry-After"]) <= 60
        assert answer["RateLimit-Reset"] == answer["Retry-After"]

    def test_refusals_count_too_and_carry_the_headers(self, limited: Callable[[], Caller]) -> None:
        caller = limited()
        answers = [caller.get("/agents?limit=0") for _ in range(3)]
        assert [answer["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]
        assert caller.get("/agents").status_code == 429

    def test_keys_do_not_use_up_each_others(self, limited: Callable[[], Caller]) -> None:
        one, other = limited(), limited()
        for _ in range(4):
            one.get("/agents")
        assert other.get("/agents").status_code == 200

    def test_an_address_that_shows_bad_keys_is_slowed_down_and_its_good_ones_are_not(
        self, alphas: Caller, settings: Any
    ) -> None:
        settings.API_FAILED_KEYS_PER_MINUTE = 2
        bad = Caller("ask_00000000_" + "a" * 43)
        assert [bad.get("/agents").status_code for _ in range(4)] == [401, 401, 429, 429]
        assert alphas.get("/agents").status_code == 200
        assert bad.get("/agents", REMOTE_ADDR="127.0.0.99").status_code == 401

    def test_with_redis_away_calls_are_answered_and_not_limited(
        self, limited: Callable[[], Caller], settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        settings.REDIS_URL = "redis://127.0.0.1:9/0"
        monkeypatch.setattr(limits.breaker, "until", 0.0)
        caller = limited()
        answers = [caller.get("/agents") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert "RateLimit-Limit" not in answers[0]
        assert [record.message for record in caplog.records if "Redis" in record.message] == [
            "Redis is away (ConnectionError); the API's calls are not limited"
        ]


class TestMonitors:
    def test_one_is_created_changed_paused_and_archived(self, alphas: Caller, things: Things) -> None:
        body = {
            "name": "Mornings",
            "agent_id": str(things.context.pk),
            "schedule": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
            "all_evidence": True,
        }
        created = alphas.post("/monitors", body)
        path = f"/monitors/{created.data['id']}"
        assert created["Location"].endswith(f"/api/v1{path}")
        assert len(created.data["next_times"]) == 5
        assert created.data["next_times"][0] == created.data["next_run_at"]
        changed = alphas.patch(path, {"dry_run": True}).data
        assert (changed["dry_run"], changed["all_evidence"], changed["name"]) == (True, True, "Mornings")
        assert changed["schedule"] == created.data["schedule"]
        assert changed["next_run_at"] == created.data["next_run_at"]
        changed = alphas.patch(path, {"schedule": {"interval_minutes": 30}, "all_evidence": False}).data
        assert (changed["schedule"]["interval_minutes"], changed["schedule"]["cron"]) == (30, "")
        assert not changed["all_evidence"]
        paused = alphas.post(f"{path}/pause").data
        assert (paused["state"], paused["next_run_at"], paused["next_times"]) == ("paused", None, [])
        assert paused["state_reason"] == "Paused by API key “CI”."
        assert alphas.post(f"{path}/resume").data["state"] == "active"
        assert alphas.post(f"{path}/archive").data["state"] == "archived"
        assert alphas.post(f"{path}/archive").data["state"] == "archived"
        assert is_problem(alphas.post(f"{path}/resume"), 409, "refused")
        assert is_problem(alphas.patch(path, {"name": "New"}), 409, "refused")
        assert str(created.data["id"]) not in walked(alphas, "/monitors")
        assert str(created.data["id"]) in walked(alphas, "/monitors?state=archived")

    def test_a_change_of_one_thing_leaves_where_it_runs_and_how_it_tells(
        self, alphas: Caller, things: Things, organization: Organization, alice: User
    ) -> None:
        lab = make_runner(organization, alice)
        path = f"/monitors/{things.monitor.pk}"
        notify = {"priority": "high", "channel": "both", "cooldown_seconds": 60}
        placement = {"runner_id": str(lab.runner.pk), "pool": ""}
        pinned = alphas.patch(path, {"placement": placement, "notify": notify}).data
        assert pinned["placement"] == {"kind": "private", **placement}
        renamed = alphas.patch(path, {"name": "Renamed"}).data
        assert (renamed["placement"], renamed["notify"]) == (pinned["placement"], notify)
        assert alphas.patch(path, {"placement": {}}).data["placement"]["kind"] == "hosted"

    @pytest.mark.parametrize(
        ("placement", "status"),
        [({"runner_id": str(uuid7()), "pool": "lab"}, 422), ({"runner_id": str(uuid7())}, 409), ({"pool": "no"}, 409)],
    )
    def test_a_runner_that_is_not_there_is_refused(
        self, alphas: Caller, things: Things, placement: dict[str, str], status: int
    ) -> None:
        assert alphas.patch(f"/monitors/{things.monitor.pk}", {"placement": placement}).status_code == status
        body = {"placement": placement, "dry_run": True}
        assert alphas.post(f"/agents/{things.context.pk}/tests", body).status_code == status

    def test_run_now_leads_to_the_job(self, alphas: Caller, things: Things, organization: Organization) -> None:
        finish(jobs_of(organization)[0], "failed")
        answer = alphas.post(f"/monitors/{things.monitor.pk}/run")
        if answer.status_code == 409:  # the cooldown is not asked when somebody asks
            raise AssertionError(answer.data)
        asked = alphas.get(f"/jobs/{answer.data['job_id']}").data
        assert (asked["triggered_by"], asked["monitor_id"]) == ("monitor", str(things.monitor.pk))

    def test_its_last_results_are_told_oldest_first(
        self, alphas: Caller, things: Things, organization: Organization
    ) -> None:
        path = f"/monitors/{things.monitor.pk}"
        finish(jobs_of(organization)[-1], "failed")
        alphas.post(f"{path}/run")
        finish(jobs_of(organization)[-1], "passed")
        assert alphas.get(path).data["recent_statuses"] == ["failing", "passing"]


def test_the_same_test_asked_for_twice_is_one(alphas: Caller, things: Things) -> None:
    body = {"dry_run": True, "all_evidence": True}
    first, second = (alphas.post(f"/agents/{things.context.pk}/tests", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.data["id"] == second.data["id"]
    assert first["Location"] == second["Location"]


def test_evidence_is_read_by_step(alphas: Caller, things: Things, organization: Organization) -> None:
    run = alphas.get(f"/runs/{things.run.pk}").data
    [step] = run["tracks"][0]["scenarios"][0]["steps"]
    assert (step["index"], step["verdict"], step["has_evidence"]) == (0, "failed", True)
    kept = alphas.get(f"/runs/{things.run.pk}/steps/0").data
    assert (kept["request"], kept["verdict"]) == ({"of": organization.id}, "failed")
    for nowhere in (1, 32_767, 32_768, 10**30):
        assert alphas.get(f"/runs/{things.run.pk}/steps/{nowhere}").status_code == 404


def test_json_is_what_is_answered(alphas: Caller, things: Things) -> None:
    answer = alphas.get("/agents")
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(answer.content)["items"][0]["created_at"].endswith("Z")


def test_an_agent_tells_of_its_last_test_and_since_when_later_ones_had_no_verdict(
    alphas: Caller, organization: Organization
) -> None:  # R13
    context = make_context(organization, "https://agent-1.example/mcp")

    def told() -> tuple[Any, ...]:
        names = ("last_test_passed", "last_test_scenario", "last_test_full_suite", "inconclusive_since")
        agent = alphas.get(f"/agents/{context.pk}").data
        return tuple(agent[name] for name in names)

    assert told() == (None, None, None, None)
    run = make_run("passed", organization=organization, agent_url=context.agent_id, full_suite=False)
    assert told() == (True, run.first_track, False, None)
    run = make_run("passed", "failed", organization=organization, agent_url=context.agent_id)
    assert told() == (False, run.first_track, True, None)
    since = make_run("silent", organization=organization, agent_url=context.agent_id).tested_at
    make_run("silent", organization=organization, agent_url=context.agent_id)
    assert told() == (False, run.first_track, True, since.isoformat().replace("+00:00", "Z"))


def test_an_agents_verdicts_and_a_run_say_when_and_with_what_they_were_reached(
    alphas: Caller, organization: Organization
) -> None:  # E12
    context = make_context(organization, "https://agent-1.example/mcp")
    run = make_run("passed", organization=organization, agent_url=context.agent_id)
    beat = make_run("failed", agent_url=context.agent_id)
    [listed] = [one for one in alphas.get("/agents").data["items"] if one["id"] == str(context.pk)]
    for agent in (listed, alphas.get(f"/agents/{context.pk}").data):
        assert agent["last_test_with"] == f"Baseline 1, engine {run.engine_version}"
        assert agent["status_with"] == f"Baseline 1, engine {beat.engine_version}"
        assert agent["last_tested_at"] == run.tested_at.isoformat().replace("+00:00", "Z")
    told = alphas.get(f"/runs/{run.pk}").data
    assert told["suite"] == {"slug": "baseline", "version": "1"}
    assert (told["engine"], told["engine_version"]) == ("baseline", run.engine_version)
    assert told["spec_version"] == run.spec_version
