"""Nothing is lost and nothing doubled: kills, signals, lost leases, and a server that is away or forgets to answer."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.compliance.runners.program.assay import Assay, problem
from tests.compliance.runners.program.conftest import Start, left
from tests.processes import HeldAgent

pytestmark = pytest.mark.processes


async def breaks_off(request: Request, body: Any) -> Response:
    """The connection ends in the midst of the answer."""

    class Cut(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"400")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"run_id"', "more_body": True})
            raise asyncio.CancelledError

    return Cut()


def says(status: int, kind: str, detail: str = "", **headers: str) -> Any:
    async def answer(request: Request, body: Any) -> Response:
        response = problem(status, kind, detail)
        response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return response

    return answer


def test_what_a_killed_runner_held_is_handed_back_at_its_next_start_and_run_once(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    work = assay.add(held.url)
    first = start()
    held.wait_until_asked()
    first.kill()
    assert left(tmp_path) == [f"held/{work.token}.json"]
    held.go_on.set()
    second = start("--once")
    assert second.child.wait(40) == 0, second.output()
    assert (work.releases, work.attempt, len(work.ends)) == (1, 2, 1)
    assert left(tmp_path) == []


def test_a_report_that_a_killed_runner_had_finished_is_posted_at_its_next_start(
    assay: Assay, start: Start, agent: str, tmp_path: Path
) -> None:
    work = assay.add(agent)
    assay.fault("complete", *[says(503, "unavailable")] * 50)
    first = start()
    assay.until(lambda: assay.said("complete"), "the first attempt")
    first.kill()
    [kept] = left(tmp_path)
    assert kept.startswith("outbox/")
    assert (tmp_path / "state" / kept).stat().st_mode & 0o777 == 0o600
    assay.faults.clear()
    assert start("--once").child.wait(30) == 0
    assert (work.attempt, work.releases) == (1, 0), "it was not run again"
    assert work.run["age_ms"] >= 300
    assert work.lease["overall"] == "passing"
    assert left(tmp_path) == []


def test_an_answer_that_was_cut_off_after_the_run_was_recorded_makes_no_second_run(
    assay: Assay, start: Start, agent: str, tmp_path: Path
) -> None:
    # L5
    work = assay.add(agent)
    assay.fault("complete", breaks_off, after=True)
    assert start("--once").child.wait(30) == 0
    assert len(assay.said("complete")) == 2
    assert len(work.ends) == 1
    assert left(tmp_path) == []


def test_a_server_that_is_started_anew_gets_what_was_finished_meanwhile(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    work = assay.add(held.url)
    runner = start()
    held.wait_until_asked()
    assay.stop()
    held.go_on.set()
    runner.says("the answer is kept and sent again")
    assert [name.split("/")[0] for name in left(tmp_path)] == ["outbox"]
    assay.start()
    assay.until(lambda: work.ends, "the report")
    runner.says("the server answers again")
    assert (work.attempt, len(work.ends)) == (1, 1)


def test_a_lease_that_the_server_calls_lost_stops_the_test_and_discards_its_result(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    assay.lease_seconds = 1.5
    work = assay.add(held.url, deadline_seconds=30, step_seconds=30)
    runner = start()
    held.wait_until_asked()
    work.state = "cancelled"
    runner.says("the lease was lost (It was cancelled.); the test is stopped and its result discarded")
    held.go_on.set()
    runner.stop()
    assert assay.said("complete") == assay.said("release") == []
    assert left(tmp_path) == []


def test_a_lease_that_cannot_be_renewed_in_time_stops_the_test(assay: Assay, start: Start, held: HeldAgent) -> None:
    # L12
    assay.lease_seconds = 1.5
    work = assay.add(held.url, deadline_seconds=30, step_seconds=30)
    runner = start()
    held.wait_until_asked()
    assay.until(lambda: work.renewals, "a renewal")
    assay.stop()
    runner.says("the lease could not be renewed in time", seconds=10)
    assert "result discarded" in runner.output()


def test_sigterm_lets_a_test_end_and_takes_no_new_work(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    work = assay.add(held.url)
    runner = start()
    held.wait_until_asked()
    runner.child.send_signal(signal.SIGTERM)
    runner.says("no new work is taken; 1 test has 30 s to end")
    late = assay.add(held.url)
    held.go_on.set()
    assert runner.child.wait(30) == 0
    assert "report" in work.run
    assert late.state == "queued"
    assert left(tmp_path) == []


def test_what_does_not_end_within_the_grace_is_handed_back(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    work = assay.add(held.url, deadline_seconds=60, step_seconds=60)
    runner = start("--grace", 0.2)
    held.wait_until_asked()
    runner.child.send_signal(signal.SIGTERM)
    assert runner.child.wait(15) == 0
    assert (work.state, work.releases, work.ends) == ("queued", 1, [])
    assert left(tmp_path) == []


def test_a_second_signal_hands_everything_back_at_once(assay: Assay, start: Start, held: HeldAgent) -> None:
    works = [assay.add(held.url, step_seconds=60) for _ in range(2)]
    runner = start("--grace", 600)
    held.wait_until_asked()
    held.wait_until_asked()
    runner.child.send_signal(signal.SIGINT)
    runner.says("a second signal hands them back at once")
    runner.child.send_signal(signal.SIGINT)
    assert runner.child.wait(15) == 0
    assert [(work.state, work.releases) for work in works] == [("queued", 1)] * 2


def test_what_could_not_be_handed_back_is_at_the_next_start(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    work = assay.add(held.url, step_seconds=60)
    runner = start("--grace", 0)
    held.wait_until_asked()
    assay.stop()
    runner.child.send_signal(signal.SIGTERM)
    assert runner.child.wait(20) == 0
    assert "1 answers are kept" in runner.output()
    assay.start()
    held.go_on.set()
    assert start("--once").child.wait(30) == 0
    assert (work.releases, len(work.ends)) == (1, 1)


def test_a_token_that_is_revoked_stops_everything_and_keeps_what_was_held(
    assay: Assay, start: Start, held: HeldAgent, tmp_path: Path
) -> None:
    # L3
    assay.lease_seconds = 1.5
    assay.add(held.url, step_seconds=60)
    runner = start()
    held.wait_until_asked()
    assay.fault("renew", says(401, "unauthorized", "The token is revoked."))
    assert runner.child.wait(15) == 3
    assert "The server does not accept the token: The token is revoked." in runner.output()
    assert [name.split("/")[0] for name in left(tmp_path)] == ["held"]


def test_the_pause_that_a_server_asks_for_is_kept(assay: Assay, start: Start, agent: str) -> None:
    times: list[float] = []

    async def busy(request: Request, body: Any) -> Response:
        times.append(assay.loop.loop.time())
        return await says(429, "too-many", "Too many requests.", retry_after="1")(request, body)

    async def note(request: Request, body: Any) -> None:
        times.append(assay.loop.loop.time())

    assay.fault("poll", busy, note)
    work = assay.add(agent)
    assert start("--once").child.wait(30) == 0
    assert times[1] - times[0] >= 1
    assert work.ends


def test_what_a_proxy_says_decides_nothing(assay: Assay, start: Start, agent: str, tmp_path: Path) -> None:
    async def proxy(request: Request, body: Any) -> Response:
        return Response("<h1>Not found</h1>", 404, media_type="text/html")

    async def portal(request: Request, body: Any) -> Response:
        return JSONResponse({"please": "sign in"})

    work = assay.add(agent)
    assay.fault("complete", proxy, portal)
    assert start("--once").child.wait(30) == 0
    assert len(assay.said("complete")) == 3
    assert work.lease["overall"] == "passing"


def test_a_report_that_the_server_finds_bad_is_sent_once(
    assay: Assay, start: Start, agent: str, tmp_path: Path
) -> None:
    # L8
    assay.add(agent)
    assay.fault("complete", says(400, "bad-report", "tracks: breaks the schema"))
    runner = start("--once")
    assert runner.child.wait(30) == 0
    assert len(assay.said("complete")) == 1
    assert "the result was not taken: tracks: breaks the schema" in runner.output()
    assert left(tmp_path) == []


def test_a_late_result_is_discarded_and_the_log_says_why(
    assay: Assay, start: Start, agent: str, tmp_path: Path
) -> None:
    # L6
    assay.add(agent)
    assay.fault("complete", says(409, "lease-lost", "It ran out at 10:00 and was given to another."))
    runner = start("--once")
    assert runner.child.wait(30) == 0
    assert "the result was not taken: It ran out at 10:00" in runner.output()
    assert left(tmp_path) == []


def test_a_report_that_is_too_large_fails_the_job_instead_of_being_sent_for_ever(
    assay: Assay, start: Start, agent: str
) -> None:
    work = assay.add(agent)
    assay.fault("complete", says(413, "too-large"))
    assert start("--once").child.wait(30) == 0
    assert work.run["reason"] == "the server did not take the report (status 413)"


def test_a_clock_that_is_an_hour_off_is_a_warning_and_no_more(assay: Assay, start: Start, agent: str) -> None:
    assay.clock_ahead = timedelta(hours=1)
    work = assay.add(agent)
    runner = start("--once")
    assert runner.child.wait(30) == 0
    assert "clock and the server's are 3" in runner.output()
    assert work.lease["overall"] == "passing"
    assert work.run["age_ms"] < 10_000


def test_results_that_cannot_be_delivered_with_once_are_kept_and_the_exit_code_says_so(
    assay: Assay, start: Start, agent: str, tmp_path: Path
) -> None:
    assay.add(agent)
    assay.fault("complete", *[says(503, "unavailable")] * 100)
    runner = start("--once")
    assert runner.child.wait(60) == 8
    assert [name.split("/")[0] for name in left(tmp_path)] == ["outbox"]
