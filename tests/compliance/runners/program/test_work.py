"""The runner asks for work, tests agents with the real engines, and posts what came of it."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from compliance import __version__
from tests.compliance.engines.servers import scripted
from tests.compliance.runners.program.assay import Assay
from tests.compliance.runners.program.conftest import Serve, Start, left
from tests.processes import HeldAgent

pytestmark = pytest.mark.processes


def test_an_agent_is_tested_and_its_report_posted(assay: Assay, start: Start, agent: str, tmp_path: Path) -> None:
    work = assay.add(agent)
    runner = start("--once")
    assert runner.child.wait(30) == 0, runner.output()
    report = work.run["report"]
    assert (report["schema"], report["engine"], report["suite"]) == ("assay-report/1", "baseline", "baseline")
    assert work.lease["overall"] == "passing", report
    assert work.run["credential"] == {"source": "none"}
    assert 0 <= work.run["age_ms"] < 10_000
    assert left(tmp_path) == []
    assert f"{agent}: passing {assay.url}/run" in runner.output()


def test_a_poll_says_what_the_runner_is(assay: Assay, start: Start) -> None:
    runner = start("--once", "--concurrency", 3)
    assert runner.child.wait(30) == 0
    question, goodbye = assay.said("poll")
    assert (goodbye["at_most"], goodbye["leaving"]) == (0, True)
    assert question["at_most"] == 3
    assert question["engines"]["baseline"] == "1.0"
    assert "a2a-tck" not in question["engines"], "what cannot run here is not offered"
    assert (question["version"], question["last_error"]) == (__version__, "")
    assert question["clock"].endswith("Z")


def test_an_idle_runner_waits_at_the_server_and_takes_new_work_at_once(assay: Assay, start: Start, agent: str) -> None:
    runner = start()
    assay.until(lambda: any(headers.get("prefer") == "wait=50" for _, _, headers in assay.calls), "the long poll")
    polls = len(assay.said("poll"))
    work = assay.add(agent)
    assay.until(lambda: work.ends, "the run")
    assert len(assay.said("poll")) - polls <= 2
    runner.child.send_signal(signal.SIGTERM)
    assert runner.child.wait(10) == 0


def test_where_nobody_holds_the_poll_the_runner_asks_again_after_the_time_that_the_server_names(
    assay: Assay, start: Start, agent: str
) -> None:
    times: list[float] = []

    async def empty(request: Request, body: object) -> Response:
        times.append(assay.loop.loop.time())
        answer = {"leases": [], "lease_seconds": 45, "poll_after_seconds": 0.5, "runner": {"name": "x"}}
        return JSONResponse(answer)

    assay.fault("poll", *[empty] * 4)
    start()
    assay.until(lambda: len(times) == 4, "four polls")
    # The first asks who is there; from then on the pauses are as long as the server wants, and somewhat longer.
    assert all(0.5 <= later - earlier < 2 for earlier, later in pairwise(times[1:])), times


def test_once_runs_all_there_is_and_never_more_at_once_than_allowed(assay: Assay, start: Start, agent: str) -> None:
    works = [assay.add(agent) for _ in range(5)]
    assert start("--once", "--concurrency", 2).child.wait(60) == 0
    assert all(work.lease["overall"] == "passing" for work in works)
    assert assay.most_at_once == 2


def test_leases_are_renewed_in_one_job_with_progress(assay: Assay, start: Start, held: HeldAgent) -> None:
    assay.lease_seconds = 1.5
    first, second = assay.add(held.url), assay.add(held.url)
    start("--once")
    assay.until(lambda: first.renewals >= 4 and second.renewals >= 4, "four renewals of both")
    assert len(assay.said("renew")[-1]["leases"]) == 2
    progress = [lease["progress"] for body in assay.said("renew") for lease in body["leases"]]
    assert any(p and p["step"] and p["total"] > 0 for p in progress)
    assert first.state == "leased", "a live one's never runs out, whatever its age"  # L12


def test_an_engine_that_is_not_here_fails_the_job_with_the_reason(assay: Assay, start: Start, agent: str) -> None:
    work = assay.add(agent, engine="of-tomorrow")
    assert start("--once").child.wait(30) == 0
    assert "this runner cannot run the engine of-tomorrow" in work.run["reason"]


def test_a_lease_that_cannot_be_read_fails_alone(assay: Assay, start: Start, agent: str) -> None:
    bad, good = assay.add("file:///etc/passwd"), assay.add(agent)
    assert start("--once").child.wait(30) == 0
    assert "cannot read the lease: “agent_url”" in bad.run["reason"]
    assert good.lease["overall"] == "passing"


def test_an_agent_off_the_allow_list_gets_no_connection_and_a_report_that_says_so(
    assay: Assay, start: Start, serve: Serve
) -> None:
    asked = []

    async def endpoint(request: Request) -> Response:
        asked.append(request.url)
        return Response()

    app = scripted()
    app.router.routes[:] = [Route("/mcp", endpoint, methods=["GET", "POST"])]
    work = assay.add(serve(app).replace("127.0.0.1", "localhost"))
    runner = start("--once", allow="10.9.0.0/16")
    assert runner.child.wait(30) == 0
    report = work.run["report"]
    assert report["refused"] is True
    assert "allow-list does not let it test localhost" in report["harness_error"]
    assert asked == []
    assert "--allow" in report["notices"][0]["message"]
    assert work.lease["overall"] == "inconclusive"


def test_a_star_allows_no_private_address(assay: Assay, start: Start, agent: str) -> None:
    work = assay.add(agent)
    assert start("--once", allow="*").child.wait(30) == 0
    assert "loopback" in work.run["report"]["harness_error"]


def test_a_redirect_does_not_lead_off_the_allow_list(assay: Assay, start: Start, serve: Serve) -> None:
    met = []
    inner = scripted()

    async def secret(request: Request) -> Response:
        met.append(str(request.url))
        return Response()

    inner.router.routes.append(Route("/inside", secret, methods=["GET", "POST"]))
    inside = serve(inner).replace("/mcp", "/inside")

    async def away(request: Request) -> Response:
        return Response(status_code=302, headers={"location": inside.replace("127.0.0.1", "localhost")})

    outer = scripted()
    outer.router.routes[:] = [Route("/{any:path}", away, methods=["GET", "POST"])]
    door = serve(outer).removesuffix("mcp")
    work = assay.add(door, protocol="a2a")
    assert start("--once", allow=door.split("/")[2]).child.wait(30) == 0
    assert met == []
    assert "not on the allow-list" in json.dumps(work.run["report"])
