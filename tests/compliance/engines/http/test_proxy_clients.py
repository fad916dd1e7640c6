"""Programs of engines send everything through their run's proxy, and reach no inner address by it."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from compliance.engines.http.egress import Guard
from compliance.engines.http.proxy import EgressProxy, ProxyLimits, egress_proxy
from compliance.engines.process.node_runtime import RuntimeMissing, node, package
from compliance.engines.process.runner import Finished, ProcessLimits, run_process, scratch_folder
from tests.compliance.engines.http.test_egress import REFUSED
from tests.compliance.engines.servers import answer, raw, says, scripted, serving

pytestmark = pytest.mark.processes

LIMITS = ProcessLimits(seconds=60, memory_mb=800)
NETWORK = ProxyLimits(seconds=60)


async def here(host: str, port: int) -> list[str]:
    """A name that only the guard's resolver knows: what does not go through the proxy finds nothing."""
    return ["127.0.0.1"] if host == "agent.example" else []


def through(allow: tuple[str, ...] = ("127.0.0.1",), **guard):
    return egress_proxy(Guard(allow, **guard), run_key="clients", limits=NETWORK)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as path:
        yield path


async def run(argv: list[str], proxy: EgressProxy, folder: Path, **env: str) -> Finished:
    done = await run_process(argv, limits=LIMITS, env={**proxy.environment(), **env}, folder=folder)
    assert done.stopped == "", done.stderr
    return done


async def javascript(code: str, proxy: EgressProxy, folder: Path, **env: str) -> list[dict]:
    """What the code says, a JSON object a line."""
    done = await run([str(node()), "--input-type=module", "-e", SAY + code], proxy, folder, **env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


SAY = """
const say = (what) => console.log(JSON.stringify(what));
const get = async (url) => {
  try {
    const response = await fetch(url);
    return { status: response.status, text: await response.text() };
  } catch (error) {
    return { error: String(error.cause?.message ?? error.message) };
  }
};
"""


class Counted:
    """An application that knows the connections and paths by which it was reached."""

    def __init__(self, app) -> None:
        self.app = app
        self.ports: set[int] = set()
        self.paths: set[str] = set()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            self.ports.add(scope["client"][1])
            self.paths.add(scope["path"])
        await self.app(scope, receive, send)


async def test_fetch_and_http_of_node_go_through_the_proxy(folder: Path) -> None:
    code = """
import http from "node:http";
say(await get(process.env.AGENT));
say(await get(process.env.AGENT));
http.get(process.env.AGENT, (response) => {
  let text = "";
  response.on("data", (data) => (text += data));
  response.on("end", () => say({ status: response.statusCode, text }));
});
"""
    app = Counted(PlainTextResponse("hello"))
    async with serving(app) as url, through(resolve=here) as proxy:
        agent = f"http://agent.example:{url.rpartition(':')[2]}/"
        said = await javascript(code, proxy, folder, AGENT=agent)

    assert said == [{"status": 200, "text": "hello"}] * 3
    assert len(app.ports) == len(proxy.connections)
    assert {c.host for c in proxy.connections} == {"agent.example"}


async def test_fetch_of_an_https_address_keeps_its_certificate_check(folder: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("agent.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    async with raw(says(answer(b"sealed", "text/plain")), tls=context) as url, through(resolve=here) as proxy:
        agent = f"https://agent.example:{url.rsplit(':', 1)[1]}"
        trusted = await javascript(
            "say(await get(process.env.AGENT))",
            *(proxy, folder),
            AGENT=agent,
            NODE_EXTRA_CA_CERTS=str(tmp_path / "authority.pem"),
        )
        unknown = await javascript("say(await get(process.env.AGENT))", proxy, folder, AGENT=agent)

    assert trusted == [{"status": 200, "text": "sealed"}]
    assert "certificate" in unknown[0]["error"]


async def test_httpx_goes_through_the_proxy(folder: Path) -> None:
    code = """
import asyncio, httpx, os
at = os.environ["AGENT"]
print(httpx.get(at).text)
async def main():
    async with httpx.AsyncClient() as client:
        print((await client.get(at)).text)
        print((await client.get("http://169.254.169.254/")).status_code)
asyncio.run(main())
"""
    async with serving(Counted(PlainTextResponse("hello"))) as url, through(resolve=here) as proxy:
        agent = f"http://agent.example:{url.rpartition(':')[2]}/"
        done = await run([sys.executable, "-c", code], proxy, folder, AGENT=agent)

    assert done.stdout == b"hello\nhello\n403\n", done.stderr
    assert [c.outcome for c in proxy.connections] == ["ok", "ok", "refused"]


async def test_no_redirect_takes_fetch_to_an_inner_address(folder: Path) -> None:  # V7
    inside = Counted(PlainTextResponse("inner secret"))
    async with serving(inside) as canary:
        port = canary.rpartition(":")[2]

        async def away(request: Request) -> RedirectResponse:
            return RedirectResponse(f"http://{REFUSED[int(request.path_params['place'])]}:{port}/", 302)

        app = Starlette(routes=[Route("/{place}", away)])
        code = "for (let n = 0; n < Number(process.env.COUNT); n++) say(await get(process.env.AGENT + n));"
        async with serving(app) as url, through(allow=(url.removeprefix("http://"),)) as proxy:
            said = await javascript(code, proxy, folder, AGENT=f"{url}/", COUNT=str(len(REFUSED)))

    assert len(said) == len(REFUSED) >= 40
    assert all("error" in each for each in said), said
    assert inside.ports == set()
    refused = [c for c in proxy.connections if c.outcome == "refused"]
    assert len(refused) == len(REFUSED)
    assert all(c.address == "" and c.bytes_up == 0 for c in refused)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0x7f.1"])
async def test_inner_address_is_not_reached_by_asking_for_it(host: str, folder: Path) -> None:  # V7
    inside = Counted(PlainTextResponse("inner secret"))
    code = """
import http from "node:http";
say(await get(process.env.AGENT));
http.get(process.env.AGENT, (response) => say({ status: response.statusCode })).on("error", (error) =>
  say({ error: error.message }),
);
"""
    async with serving(inside) as canary, through(allow=()) as proxy:
        at = f"http://{host}:{canary.rpartition(':')[2]}/"
        by_fetch, by_http = await javascript(code, proxy, folder, AGENT=at)

    assert "error" in by_fetch
    assert by_http == {"status": 403}
    assert inside.ports == set()


async def test_name_that_changes_its_answer_leads_nowhere_else(folder: Path) -> None:  # V7
    answers = ["127.0.0.1"]

    async def changing(host: str, port: int) -> list[str]:
        return [answers.pop() if answers else "169.254.169.254"]

    app = Counted(PlainTextResponse("hello", headers={"connection": "close"}))
    code = "for (let n = 0; n < 3; n++) say(await get(process.env.AGENT));"
    async with serving(app) as url:
        agent = f"http://agent.example:{url.rpartition(':')[2]}/"
        async with through(("127.0.0.1/32",), resolve=changing) as proxy:
            first = await javascript(code, proxy, folder, AGENT=agent)
        async with through(("127.0.0.1/32",), resolve=changing) as proxy:
            second = await javascript(code, proxy, folder, AGENT=agent)

    assert first == [{"status": 200, "text": "hello"}] * 3
    assert all("error" in each for each in second)
    assert {c.outcome for c in proxy.connections} == {"refused"}


@pytest.mark.parametrize(
    "way",
    [
        "net.connect(Number(port), '127.0.0.1')",
        "net.connect({ port, host: 'localhost' })",
        "net.createConnection({ port, host: '127.0.0.1', lookup: (h, o, cb) => cb(null, '127.0.0.1', 4) })",
        "new net.Socket().connect(Number(port), '127.0.0.1')",
        "tls.connect({ port, host: '127.0.0.1' })",
        "net.connect('/var/run/docker.sock')",
        "http.get({ port, host: '127.0.0.1', agent: new http.Agent() })",
        "https.get({ port, host: '127.0.0.1', agent: new https.Agent({ maxSockets: 1 }) })",
        "http.get({ port, host: '127.0.0.1', createConnection: () => net.connect(Number(port), '127.0.0.1') })",
    ],
)
async def test_node_program_cannot_pass_the_proxy_by(way: str, folder: Path) -> None:  # V7
    inside = Counted(PlainTextResponse("inner secret"))
    code = f"""
import net from "node:net";
import tls from "node:tls";
import http from "node:http";
import https from "node:https";
const port = process.env.INSIDE;
{way}.on("error", (error) => say({{ error: error.message }}));
"""
    async with serving(inside) as canary, through(allow=()) as proxy:
        said = await javascript(code, proxy, folder, INSIDE=canary.rpartition(":")[2])

    assert "not through the proxy of this run" in said[0]["error"]
    assert inside.ports == set()


def official(name: str) -> Path:
    try:
        return package(name).path
    except RuntimeMissing as missing:
        pytest.skip(str(missing))


async def test_official_mcp_runner_sends_everything_through_the_proxy(folder: Path) -> None:  # V7
    runner = official("@modelcontextprotocol/conformance") / "dist" / "index.js"
    app = Counted(scripted())
    async with serving(app) as url, through(resolve=here) as proxy:
        agent = f"http://agent.example:{url.rpartition(':')[2]}/mcp"
        done = await run([str(node()), str(runner), "server", "--url", agent], proxy, folder)

    assert b"Total:" in done.stdout, done.stderr
    assert "not through the proxy" not in done.stderr + done.stdout.decode()
    used = [c for c in proxy.connections if c.bytes_up]
    assert len(app.ports) == len(used) > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "agent.example"])
async def test_official_adcp_runner_sends_everything_through_the_proxy(host: str, folder: Path) -> None:  # V7
    runner = official("@adcp/sdk") / "bin" / "adcp.js"
    app = Counted(scripted())
    async with serving(app) as url, through(resolve=here) as proxy:
        # Its probes of a server's metadata look the name up for themselves: they need one that the system knows.
        agent = f"http://{host}:{url.rpartition(':')[2]}/mcp"
        done = await run(
            [str(node()), str(runner), "storyboard", "run", agent, "--json", "--allow-http"], proxy, folder
        )

    assert json.loads(done.stdout)["tested_at"]
    assert "not through the proxy" not in done.stderr + done.stdout.decode()
    used = [c for c in proxy.connections if c.bytes_up]
    assert len(app.ports) == len(used) > 0
    assert {c.host for c in proxy.connections} == {host}
    if host == "127.0.0.1":
        assert any(path.startswith("/.well-known/oauth-protected-resource") for path in app.paths), app.paths
