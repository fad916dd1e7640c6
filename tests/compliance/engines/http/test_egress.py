"""A run reaches no address that it should not: not by notation, redirect, second answer or form (V7)."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route

from compliance.engines import Overall, detect_protocol
from compliance.engines.http.egress import NOTHING_ELSE, AddressRefused, Guard
from compliance.engines.suites.baseline.engine import BaselineEngine
from tests.compliance.engines.servers import check, raw, says, scripted, serving, step, target

REFUSED = [
    "127.0.0.1",
    "127.1.2.3",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "012.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "0xA9FEA9FE",
    "2852039166",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "0300.0250.0.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST.",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:8.8.8.8]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:53aa:64c::]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2600::5efe:7f00:1]",
]


@pytest.mark.parametrize("host", REFUSED)
async def test_address_is_refused_before_a_connection(host: str) -> None:  # V7
    with pytest.raises(AddressRefused, match="address not allowed"):
        await Guard().check(host, 80)


PRIVATE = ["10.1.2.3", "127.0.0.1", "169.254.169.254", "100.64.0.9", "192.168.7.7", "fd00:ec2::254", "fe80::1", "::1",
           "::ffff:10.1.2.3", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]  # fmt: skip


@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("address", PRIVATE)
async def test_refusal_does_not_tell_the_address_behind_a_name(address: str, confined: bool) -> None:  # V7
    async def resolve(name: str, port: int) -> list[str]:
        return [address]

    guard = Guard([NOTHING_ELSE, "9.9.9.9"] if confined else [], resolve)
    with pytest.raises(AddressRefused, match=r"address not allowed: agent\.example") as refused:
        await guard.check("agent.example", 443)

    said = str(refused.value)
    assert address not in said
    assert not re.search(r"\d+\.\d+\.\d+|::", said)


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "[2606:4700::1111]"])
async def test_public_address_is_allowed(host: str) -> None:
    assert await Guard().check(host, 443) == [host.strip("[]")]


@pytest.mark.parametrize("host", ["169.254.169.254", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "[fd00:ec2::254]"])
async def test_refusal_is_inconclusive_and_says_so(host: str) -> None:  # V7 R7
    report = await check(f"http://{host}:9/mcp", allow=())

    assert report.overall() is Overall.INCONCLUSIVE
    assert report.refused
    assert "address not allowed" in report.harness_error


async def test_detection_is_refused_too() -> None:  # V7
    found = await detect_protocol(target("http://169.254.169.254/mcp", allow=()))

    assert found.protocol == ""
    assert "address not allowed" in found.reason


@pytest.mark.parametrize(
    ("allow", "host", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 80),
        ("127.0.0.0/8", "127.0.0.1", 80),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost", "localhost", 80),
        ("localhost:8080", "LOCALHOST.", 8080),
        ("[::1]:8080", "[::1]", 8080),
        ("::1", "[::1]", 80),
        ("10.0.0.0/8", "[::ffff:10.1.2.3]", 80),
    ],
)
async def test_allow_list_exempts_by_host_port_address_and_network(allow: str, host: str, port: int) -> None:
    assert await Guard([allow]).check(host, port)


@pytest.mark.parametrize(
    ("allow", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8081),
        ("localhost:8080", "localhost", 80),
        ("127.0.0.1", "127.0.0.2", 80),
        ("10.0.0.0/8", "192.168.0.1", 80),
        ("example.com", "localhost", 80),
    ],
)
async def test_allow_list_exempts_nothing_else(allow: str, host: str, port: int) -> None:  # V7
    with pytest.raises(AddressRefused):
        await Guard([allow]).check(host, port)


async def test_name_with_one_private_address_among_public_ones_is_refused() -> None:  # V7
    async def mixed(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "10.0.0.1"]

    with pytest.raises(AddressRefused, match=r"agent\.example \(private\)"):
        await Guard(resolve=mixed).check("agent.example", 443)


class ChangingName:
    """A resolver that answers first with an allowed address and from then on with another one."""

    def __init__(self, first: str, then: str) -> None:
        self.answers = [first]
        self.then = then
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return [self.answers.pop() if self.answers else self.then]


async def test_second_answer_of_a_name_is_never_asked_for_in_a_run() -> None:  # V7
    name = ChangingName("127.0.0.1", "127.0.0.2")
    async with serving(scripted()) as url:
        port = url.rpartition(":")[2]
        report = await BaselineEngine(resolve=name).run(
            target(f"http://agent.example:{port}/mcp", allow=("127.0.0.1/32",))
        )

    assert report.overall() is Overall.PASSING
    assert name.asked == 1


async def test_second_answer_is_checked_in_the_next_run() -> None:  # V7
    name = ChangingName("127.0.0.1", "169.254.169.254")
    engine = BaselineEngine(resolve=name)
    async with serving(scripted()) as url:
        at = target(f"http://agent.example:{url.rpartition(':')[2]}/mcp", allow=("127.0.0.1/32",))
        first, second = await engine.run(at), await engine.run(at)

    assert first.overall() is Overall.PASSING
    assert "agent.example (link-local" in second.harness_error
    assert "169.254" not in second.harness_error


async def test_name_is_kept_in_the_host_header_when_the_address_is_pinned() -> None:
    seen: list[str] = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            seen.extend(v.decode() for k, v in scope["headers"] if k == b"host")
        await scripted()(scope, receive, send)

    async with serving(app) as url:
        port = url.rpartition(":")[2]
        engine = BaselineEngine(resolve=ChangingName("127.0.0.1", "127.0.0.1"))
        await engine.run(target(f"http://agent.example:{port}/mcp", allow=("127.0.0.1/32",)))

    assert set(seen) == {f"agent.example:{port}"}


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/latest", "http://[::1]:9/", "http://0x7f000001:9/", "http://localhost:9/"]
)
async def test_redirect_to_a_refused_address_is_not_followed(place: str) -> None:  # V7, E1
    async def away(request):
        return RedirectResponse(place, 307)

    app = Starlette(routes=[Route("/{rest:path}", away, methods=["GET", "POST"])])
    async with serving(app) as url:
        only = url.removeprefix("http://")
        post = await check(f"{url}/mcp", allow=(only,))
        get = await check(url, protocol="a2a", allow=(only,))

    assert step(post, "connectivity/reach", "reachable").verdict == "failed"
    assert "another host" in step(post, "connectivity/reach", "reachable").actual
    assert step(get, "connectivity/reach", "reachable").verdict == "not_tested"
    assert "address not allowed" in step(get, "connectivity/reach", "reachable").actual
    assert (post.overall(), get.overall()) == (Overall.FAILING, Overall.INCONCLUSIVE)
    assert "address not allowed" in get.headline()


async def test_redirect_to_another_port_of_the_same_host_is_checked_again() -> None:  # V7
    async with serving(scripted()) as inside:

        async def away(request):
            return RedirectResponse(f"{inside}/mcp", 307)

        async with serving(Starlette(routes=[Route("/mcp", away, methods=["POST"])])) as url:
            report = await check(f"{url}/mcp", allow=(url.removeprefix("http://"),))

    assert "address not allowed" in step(report, "connectivity/reach", "reachable").actual


async def test_interface_inside_that_a_card_names_is_not_tested() -> None:  # V7, E1
    card = (
        b'{"name":"n","description":"d","version":"1","capabilities":{},"skills":[],"defaultInputModes":["text/plain"],'
        b'"defaultOutputModes":["text/plain"],"supportedInterfaces":[{"url":"http://169.254.169.254/",'
        b'"protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}'
    )
    body = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(card), card)
    async with raw(says(body)) as url:
        report = await check(url, protocol="a2a", allow=(url.removeprefix("http://").removesuffix("/mcp"),))

    interface = step(report, "a2a/interfaces", "interface/1")
    assert interface.verdict == "not_tested"
    assert "address not allowed" in interface.actual
    assert report.overall() is Overall.INCONCLUSIVE


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/", "not a url", "http://"]
)
async def test_other_schemes_and_malformed_addresses_are_not_tried(url: str) -> None:  # V7
    report = await check(url)

    assert report.overall() is Overall.FAILING
    assert step(report, "connectivity/reach", "reachable").verdict == "failed"


async def test_each_connection_of_a_run_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="assay.egress"):
        async with serving(scripted()) as url:
            await check(f"{url}/mcp?key=secret", run_key="run-1", token="secret-token")
            await check("http://169.254.169.254/secret", run_key="run-2", allow=())
            await check(url.replace("http://", "https://"), run_key="run-3")

    lines = [record.getMessage() for record in caplog.records if record.name == "assay.egress"]
    port = url.rpartition(":")[2]
    assert any(line.startswith(f"run=run-1 host=127.0.0.1 port={port} address=127.0.0.1 up=") for line in lines)
    assert not any("up=0 " in line or "down=0 " in line for line in lines if "run=run-1" in line)
    assert {line.rpartition("outcome=")[2] for line in lines if "run=run-1" in line} == {"ok"}
    assert any("run=run-2 host=169.254.169.254 port=80 address=- up=0 down=0" in line for line in lines)
    assert {line.rpartition("outcome=")[2] for line in lines if "run=run-2" in line} == {"refused"}
    assert {line.rpartition("outcome=")[2] for line in lines if "run=run-3" in line} == {"broken"}
    assert not any("secret" in line for line in lines)


async def test_name_is_looked_up_once_for_all_who_ask_at_the_same_time() -> None:  # V7
    name = ChangingName("127.0.0.1", "127.0.0.2")
    guard = Guard(["127.0.0.0/8"], resolve=name)
    answers = await asyncio.gather(*(guard.check("agent.example", port) for port in (80, 80, 443, 8080)))

    assert answers == [["127.0.0.1"]] * 4
    assert name.asked == 1


async def test_name_without_an_answer_is_asked_for_again() -> None:
    answers = [OSError("the resolver is away"), ["8.8.8.8"]]

    async def resolve(host: str, port: int) -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    guard = Guard(resolve=resolve)
    with pytest.raises(OSError, match="away"):
        await guard.check("agent.example", 443)
    assert await guard.check("agent.example", 443) == ["8.8.8.8"]


async def test_one_who_stops_waiting_leaves_the_answer_to_the_others() -> None:
    go_on = asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        await go_on.wait()
        return ["8.8.8.8"]

    guard = Guard(resolve=resolve)
    first, second = (asyncio.ensure_future(guard.check("agent.example", 443)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()

    assert await second == ["8.8.8.8"]
    assert first.cancelled()
