"""Who gets what of each operation: its organization's keys with the scope, and nobody else (I5, I6, L7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from compliance.models import AgentContext, Job, MonitorDecision, Organization, User
from compliance.tenancy.api_key_actions import revoke_key
from compliance.tenancy.ids import uuid7
from compliance.tenancy.scope import organization_scope
from dashboard.api.urls import api
from tests.compliance.vault.conftest import make_credential
from tests.conftest import make_run
from tests.dashboard.api.conftest import Caller, Things, make_expired_key, make_key

MONITOR = {"name": "New", "schedule": {"interval_minutes": 60}}
# Each operation: its scope, how it is called on an organization's things, and what its own key gets.
OPERATIONS: dict[str, tuple[str, str, str, Any, int]] = {
    "getOrganization": ("read", "GET", "/organization", None, 200),
    "listAgents": ("read", "GET", "/agents", None, 200),
    "getAgent": ("read", "GET", "/agents/{agent}", None, 200),
    "registerAgent": ("manage", "POST", "/agents", {"agent_url": "https://new.example/mcp"}, 201),
    "requestTest": ("test", "POST", "/agents/{agent}/tests", {}, 200),
    "getJob": ("read", "GET", "/jobs/{job}", None, 200),
    "cancelJob": ("test", "POST", "/jobs/{job}/cancel", None, 200),
    "listRuns": ("read", "GET", "/runs", None, 200),
    "getRun": ("read", "GET", "/runs/{run}", None, 200),
    "getStepEvidence": ("read", "GET", "/runs/{run}/steps/0", None, 200),
    "listMonitors": ("read", "GET", "/monitors", None, 200),
    "createMonitor": ("manage", "POST", "/monitors", MONITOR, 201),
    "getMonitor": ("read", "GET", "/monitors/{monitor}", None, 200),
    "changeMonitor": ("manage", "PATCH", "/monitors/{monitor}", {"name": "Renamed"}, 200),
    "pauseMonitor": ("manage", "POST", "/monitors/{monitor}/pause", None, 200),
    "resumeMonitor": ("manage", "POST", "/monitors/{monitor}/resume", None, 200),
    "archiveMonitor": ("manage", "POST", "/monitors/{monitor}/archive", None, 200),
    "runMonitor": ("manage", "POST", "/monitors/{monitor}/run", None, 409),  # one is under way
    "listDecisions": ("read", "GET", "/decisions", None, 200),
    "listSuites": ("read", "GET", "/suites", None, 200),
    "getSuite": ("read", "GET", "/suites/baseline", None, 200),
}
# Those of private runners are for their keys alone, and those of webhooks for signatures; tried where they are made.
OF_OTHERS = ("/api/v1/runner", "/api/v1/webhooks")
OF_THINGS = [name for name, (_, _, path, _, _) in OPERATIONS.items() if "{" in path]


def call(caller: Caller, name: str, things: Things, **environ: Any) -> Any:
    _, method, path, body, _ = OPERATIONS[name]
    if name == "createMonitor":
        body = {**body, "agent_id": str(things.context.pk)}
    names = {"agent": things.context.pk, "run": things.run.pk, "job": things.job.pk}
    return caller(method, path.format(**names, monitor=things.monitor.pk), body, **environ)


def told_of(response: Any, *organizations: Organization) -> list[str]:
    """Which of what only these organizations know is in the response, headers included."""
    text = response.content.decode() + str(response.headers)
    words = [word for each in organizations for word in (each.id, f"Monitor of {each.id}", f"{each.name}'s agent")]
    return [word for word in words if word in text]


def test_every_operation_is_tried_here() -> None:
    paths = api.get_openapi_schema()["paths"]
    found = {
        operation["operationId"]
        for path, operations in paths.items()
        if not path.startswith(OF_OTHERS)
        for operation in operations.values()
    }
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
class TestEachOperation:
    def test_a_key_of_the_organization_with_the_scope_gets_it(
        self,
        with_scopes: Callable[..., Caller],
        name: str,
        things: Things,
        other_things: Things,
        other_organization: Organization,
    ) -> None:  # I6
        scope, *_, status = OPERATIONS[name]
        answer = call(with_scopes(scope), name, things)
        assert answer.status_code == status, answer.data
        assert told_of(answer, other_organization) == []

    def test_a_key_of_another_organization_gets_nothing_of_it(
        self, omegas: Caller, name: str, things: Things, organization: Organization, other_things: Things
    ) -> None:  # I5
        answer = call(omegas, name, things)
        if name in OF_THINGS or name == "createMonitor":
            assert answer.status_code == 404, answer.data
        assert told_of(answer, organization) == []

    def test_without_a_key_it_is_401_and_says_how_to_ask(self, name: str, things: Things, queries: Any) -> None:
        with queries() as asked:
            answer = call(Caller(), name, things)
        assert (answer.status_code, answer.data["type"]) == (401, "/problems/unauthorized")
        assert answer["WWW-Authenticate"] == 'Bearer realm="Assay"'
        assert asked == []

    @pytest.mark.parametrize("end", ["revoked", "expired"])
    def test_a_key_that_has_ended_is_401_and_says_why(
        self, name: str, end: str, things: Things, organization: Organization, alice: User
    ) -> None:  # I5
        if end == "revoked":
            key, token = make_key(organization, alice)
            revoke_key(organization=organization, key_id=key.pk, by=alice)
        else:
            token = make_expired_key(organization, alice)
        answer = call(Caller(token), name, things)
        assert (answer.status_code, answer.data["type"]) == (401, "/problems/unauthorized")
        assert end in answer.data["detail"]
        assert told_of(answer, organization) == []

    def test_a_key_without_the_scope_is_403_and_does_nothing(
        self, with_scopes: Callable[..., Caller], name: str, things: Things, organization: Organization
    ) -> None:  # L7
        scope = OPERATIONS[name][0]
        others = [each for each in ("read", "test", "manage") if each != scope]
        answer = call(with_scopes(*others), name, things)
        assert (answer.status_code, answer.data["type"]) == (403, "/problems/not-allowed")
        assert told_of(answer, organization) == []

    def test_a_runners_key_is_403(
        self, a_runners: Caller, name: str, things: Things, organization: Organization
    ) -> None:  # L6
        answer = call(a_runners, name, things)
        assert answer.status_code == 403
        assert told_of(answer, organization) == []

    def test_a_session_is_no_key_and_none_is_touched(
        self, name: str, things: Things, alice: User, client: Any, queries: Any
    ) -> None:
        client.force_login(alice)
        caller = Caller()
        caller._client = client
        with queries() as asked:
            answer = call(caller, name, things)
        assert answer.status_code == 401
        assert asked == []
        assert not answer.cookies
        assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("name", OF_THINGS)
def test_what_is_another_organizations_looks_like_what_is_not_there(
    omegas: Caller, name: str, things: Things, other_things: Things
) -> None:  # I5
    """Byte for byte, headers too, but for how many calls are left."""
    nowhere = Things(*[type("Nowhere", (), {"pk": uuid7()})() for _ in Things._fields])  # type: ignore[arg-type]
    foreign, absent = (call(omegas, name, each) for each in (things, nowhere))
    assert foreign.content == absent.content
    assert without_counts(foreign) == without_counts(absent)
    assert omegas.get("/no/such/address").content == foreign.content


def without_counts(response: Any) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if not name.startswith("RateLimit")}


class TestLists:
    """I6: what is listed, counted and linked is the organization's own."""

    @pytest.mark.parametrize("path", ["/agents", "/runs", "/monitors", "/decisions"])
    def test_each_list_has_one_of_the_two_organizations_things(
        self, alphas: Caller, omegas: Caller, things: Things, other_things: Things, path: str
    ) -> None:
        alpha, omega = alphas.get(path).data["items"], omegas.get(path).data["items"]
        assert (len(alpha), len(omega)) == (1, 1)
        assert alpha[0]["id"] != omega[0]["id"]

    def test_a_history_of_a_shared_agent_has_own_runs_and_heartbeats(
        self, alphas: Caller, things: Things, other_things: Things
    ) -> None:  # I6
        heartbeat = make_run("passed")
        items = alphas.get(f"/runs?agent={things.context.pk}").data["items"]
        assert {item["id"] for item in items} == {str(heartbeat.pk), str(things.run.pk)}

    def test_another_organizations_ids_filter_to_nothing_or_404(
        self, omegas: Caller, things: Things, other_things: Things
    ) -> None:  # I5
        assert omegas.get(f"/runs?agent={things.context.pk}").status_code == 404
        assert omegas.get(f"/decisions?monitor={things.monitor.pk}").data["items"] == []
        assert omegas.get(f"/monitors?agent={things.context.pk}").data["items"] == []

    def test_a_credential_of_another_organization_is_not_there(
        self, alphas: Caller, things: Things, other_organization: Organization, charlie: User
    ) -> None:  # V5
        theirs = make_credential(other_organization, charlie)
        body = {"credential": str(theirs.pk), "dry_run": True}
        answer = alphas.post(f"/agents/{things.context.pk}/tests", body)
        assert (answer.status_code, answer.data["type"]) == (409, "/problems/refused")


def test_nothing_half_done_is_kept_when_an_operation_breaks(
    alphas: Caller, things: Things, monkeypatch: pytest.MonkeyPatch, organization: Organization
) -> None:
    """The second half of creating a monitor is to show it."""
    monkeypatch.setattr("compliance.models.Monitor.next_times", lambda monitor: 1 / 0)
    answer = alphas.post("/monitors", {**MONITOR, "agent_id": str(things.context.pk)})
    assert (answer.status_code, answer.data["type"]) == (500, "/problems/broken")
    assert "ZeroDivision" not in answer.content.decode()
    monkeypatch.undo()
    assert [item["name"] for item in alphas.get("/monitors").data["items"]] == [things.monitor.name]


def test_a_decision_that_stops_a_run_stays_on_record(
    alphas: Caller, things: Things, organization: Organization
) -> None:  # G4
    alphas.post(f"/jobs/{things.job.pk}/cancel")
    with organization_scope(organization.id):
        [under_way] = Job.objects.filter(monitor_id=things.monitor.pk).values_list("pk", flat=True)
        before = MonitorDecision.objects.count()
    assert alphas.post(f"/jobs/{under_way}/cancel").data["state"] == "cancelled"
    with organization_scope(organization.id):
        AgentContext.objects.filter(pk=things.context.pk).delete()
    answer = alphas.post(f"/monitors/{things.monitor.pk}/run")
    assert (answer.status_code, answer.data["type"], answer.data["outcome"]) == (409, "/problems/stopped", "no_agent")
    with organization_scope(organization.id):
        assert MonitorDecision.objects.count() == before + 1


def test_what_a_key_does_is_on_record_as_the_keys_doing(alphas: Caller, things: Things) -> None:
    answer = alphas.post(f"/agents/{things.context.pk}/tests", {"dry_run": True})
    assert answer.data["actor"] == {"kind": "api_key", "name": "CI"}
    monitor = alphas.post("/monitors", {**MONITOR, "agent_id": str(things.context.pk)}).data
    assert re.fullmatch("API key “CI”", monitor["created_by"])
