"""A credential of Assay's that is released to a private runner: to whom, until when, and what is forgotten of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from compliance.engines.reports.model import NOT_ACCEPTED, Notice
from compliance.jobs.actions import cancel_job
from compliance.models import Credential
from compliance.runners.actions import delete_runner, disable_runner
from compliance.vault.actions import revoke_grant
from tests.compliance.runners.conftest import Calling, ask, make_runner, plain
from tests.compliance.vault.conftest import SECRET, World
from tests.compliance.vault.servers import Asked, token_endpoint
from tests.conftest import DATABASE, SUPERUSER_URL, make_report
from tests.racing import Meanwhile

pytestmark = pytest.mark.processes

TOKEN = "issued-token-5b1e"


class Here(World):
    """An organization with a runner that holds a lease on a test that wants a credential."""

    def __init__(self, **credential: Any) -> None:
        super().__init__()
        self.lab: Calling = make_runner(self.organization, self.alice)
        self.credential_: Credential = self.credential(**credential)
        self.grant_ = self.grant(self.credential_)
        self.lease = self.leased()

    def leased(self) -> dict[str, Any]:
        ask(self.organization, self.context, self.alice, self.lab.placement())
        [lease] = self.lab.poll()
        return lease

    def credential_of(self, lease: dict[str, Any]) -> Any:
        answer = self.lab.post(f"jobs/{lease['job_id']}/credential", {"token": lease["token"]})
        return answer.status_code, answer.json()

    def results(self) -> list[tuple[str, str]]:
        return [(use.sent_to, use.result) for use in self.uses()]


def disable(here: Here) -> None:
    disable_runner(organization=here.organization, runner_id=here.lab.runner.pk, by=here.alice)


def delete(here: Here) -> None:
    delete_runner(organization=here.organization, runner_id=here.lab.runner.pk, by=here.alice)


def cancel(here: Here) -> None:
    cancel_job(organization=here.organization, job_id=here.lease["job_id"], by=here.alice)


def revoke(here: Here) -> None:
    revoke_grant(organization=here.organization, grant_id=here.grant_.pk, by=here.alice)


@pytest.fixture
def endpoint() -> Iterator[Asked]:
    with token_endpoint(TOKEN) as asked:
        yield asked


def oauth(endpoint: Asked) -> Here:
    return Here(kind="oauth", parameters={"token_url": endpoint.url})


@pytest.mark.parametrize(
    ("withdraw", "status", "kind", "results"),
    [
        (disable, 403, "not-allowed", ["ok"]),
        (delete, 401, "unauthorized", ["ok"]),
        (cancel, 409, "lease-lost", ["ok"]),
        (revoke, 403, "not-released", ["ok", "revoked"]),
    ],
)
def test_trust_that_is_withdrawn_while_a_token_is_awaited_is_seen_before_it_is_released(
    committed_db: None,
    endpoint: Asked,
    withdraw: Callable[[Here], None],
    status: int,
    kind: str,
    results: list[str],
) -> None:  # L3, V2, V4
    here = oauth(endpoint)
    endpoint.go_on.clear()
    asking = Meanwhile(lambda: here.credential_of(here.lease))
    assert endpoint.arrived.wait(20)
    withdraw(here)
    endpoint.go_on.set()
    answered, problem = asking.outcome()
    assert (answered, problem["type"]) == (status, f"/problems/{kind}")
    assert TOKEN not in str(problem)
    assert [use.result for use in here.uses()] == results, "what was done is on record, whatever happened then"


@pytest.mark.parametrize("withdraw", [disable, delete, cancel])
def test_who_withdraws_trust_waits_for_a_secret_that_is_being_released(
    committed_db: None, superuser: psycopg.Connection[Any], withdraw: Callable[[Here], None]
) -> None:  # L3, V2
    here = Here()
    with psycopg.connect(SUPERUSER_URL, dbname=DATABASE) as gate:
        # Where a use is decided, after whether its runner may have it, and before it is on record.
        gate.execute("LOCK TABLE credential_grants IN ACCESS EXCLUSIVE MODE")
        asking = Meanwhile(lambda: here.credential_of(here.lease))
        assert asking.waits(superuser)
        withdrawing = Meanwhile(lambda: withdraw(here))
        assert withdrawing.waits(superuser), "it would come between the check and the release"
        gate.rollback()
    assert withdrawing.outcome() is None
    status, given = asking.outcome()
    assert status == 200 or (status == 401 and withdraw is delete)  # the key is looked at once more in the end
    assert (SECRET in str(given)) == (status == 200)
    assert here.results() == [("runner", "ok")]


def test_a_secret_is_not_released_to_a_runner_that_was_disabled_before(committed_db: None) -> None:  # L3
    here = Here()
    disable(here)
    status, problem = here.credential_of(here.lease)
    assert (status, problem["type"]) == (403, "/problems/not-allowed")
    assert here.uses() == []


# Tokens that agents refuse


def refused() -> Any:
    """The report of a test whose agent does not take the token."""
    report = make_report("failed")
    return plain(replace(report, notices=(Notice(NOT_ACCEPTED, "The agent does not accept it."),)))


@pytest.mark.parametrize(("report", "bought"), [(refused, 2), (lambda: plain(make_report("failed")), 1)])
def test_a_token_that_the_agent_refuses_is_bought_anew(
    committed_db: None, endpoint: Asked, report: Callable[[], Any], bought: int
) -> None:
    here = oauth(endpoint)
    assert here.credential_of(here.lease)[0] == 200
    answer = here.lab.complete(here.lease, report=report(), credential={"source": "assay"})
    assert answer.status_code == 200
    again = here.leased()
    assert here.credential_of(again)[0] == 200
    assert len(endpoint.forms) == bought


def test_one_that_a_runner_had_from_elsewhere_leaves_what_is_kept(committed_db: None, endpoint: Asked) -> None:
    here = oauth(endpoint)
    assert here.credential_of(here.lease)[0] == 200
    assert here.lab.complete(here.lease, report=refused(), credential={"source": "runner"}).status_code == 200
    assert here.credential_of(here.leased())[0] == 200
    assert len(endpoint.forms) == 1
