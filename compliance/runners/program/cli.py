"""The command `assay-runner`: its options, and how it starts and ends."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from compliance import __version__
from compliance.engines.process.capacity import Capacity, default_memory_mb
from compliance.engines.process.paths import use_paths
from compliance.engines.process.runner import hide_from_programs
from compliance.runners.program import allowlist, check
from compliance.runners.program.allowlist import server_url, travels_in_the_clear
from compliance.runners.program.client import Client, trusting
from compliance.runners.program.install import install_engines, prepare_engines
from compliance.runners.program.jobs import MOST, Setup
from compliance.runners.program.logs import SecretFilter, set_up
from compliance.runners.program.problems import Exit, Problem
from compliance.runners.program.runner import Runner, engine_versions
from compliance.runners.program.secrets_file import read_secrets
from compliance.runners.program.server_proxy import server_proxy
from compliance.runners.program.state import State, check_folder, default_folder
from compliance.runners.program.token import VARIABLE, open_to_others, read_token

log = logging.getLogger(__name__)

_CODES = {
    Exit.OK: "done, or stopped by a signal",
    Exit.BROKEN: "a fault of the program itself",
    Exit.USAGE: "options, the allow-list or the secrets file are wrong",
    Exit.TOKEN: "the token is missing, wrong, expired or revoked",
    Exit.STATE: "the state folder is not usable, or in use",
    Exit.ENGINES: "no engine can run here",
    Exit.VERSION: "this program and the server do not understand each other",
    Exit.SERVER: "the server is not reachable, not trusted or not Assay (check, --once)",
    Exit.UNDELIVERED: "results wait in the state folder for the next start (--once)",
}
_LOOPBACK_WORDS = "--url is http and not on this machine: the token travels unencrypted"


def _number(kind: type[int] | type[float], least: int, most: int) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code.value}  {words}" for code, words in _CODES.items())
    parser = argparse.ArgumentParser(
        prog="assay-runner",
        description="Tests agents inside your own network and reports to an Assay server.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="run",
        choices=("run", "check", "engines", "install-engines"),
        help="run (the default); check that everything is set up; list the engines; install the official ones",
    )
    parser.add_argument("--url", help="the Assay server, such as https://assay.example.com")
    parser.add_argument("--token-file", type=Path, help=f"file with the runner's token; or set {VARIABLE}")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="HOST|HOST:PORT|ADDRESS|NETWORK",
        help="what may be tested (repeatable); '*' stands for any public address",
    )
    parser.add_argument("--allow-file", type=Path, help="the same, one a line; # begins a comment")
    parser.add_argument("--secrets-file", type=Path, help="credentials of agents (TOML or JSON), which stay here")
    parser.add_argument("--state-dir", type=Path, help="what outlives a restart (default: ~/.local/state/assay-runner)")
    parser.add_argument("--concurrency", type=_number(int, 1, MOST), default=4, help="tests at once (default: 4)")
    parser.add_argument("--engine-memory", type=_number(int, 64, 1 << 30), help="MiB for engines (default: a quarter)")
    parser.add_argument("--once", action="store_true", help="run what there is now, then end")
    grace = "seconds to end tests after a signal (default: 30)"
    parser.add_argument("--grace", type=_number(float, 0, 86_400), default=30.0, help=grace)
    parser.add_argument("--ca-file", type=Path, help="certificate authority of the server, when it is a private one")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--version", action="version", version=f"assay-runner {__version__}")
    return parser


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code, which the command's --help explains."""
    options = _parser().parse_args(arguments)
    secret_filter = SecretFilter()
    set_up(secret_filter, as_json=options.log_format == "json")
    hide_from_programs()  # its environment may hold the token and the secrets of agents
    use_paths({"a2a-tck": os.environ.get("A2A_TCK_PATH", "")})
    try:
        if options.command == "engines":
            return check.list_engines(say)
        if options.command == "install-engines":
            install_engines(say)
            prepare_engines(say)
            return check.list_engines(say)
        if options.command == "check":
            return asyncio.run(_check(options, secret_filter))
        return asyncio.run(_run(options, secret_filter))
    except Problem as problem:
        log.error("%s %s", problem.what, problem.remedy)
        return problem.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        log.exception("the runner broke; please report this")
        return Exit.BROKEN


def _url(options: argparse.Namespace) -> str:
    url = server_url(options.url)
    if travels_in_the_clear(url):
        log.warning(_LOOPBACK_WORDS)
    return url


async def _run(options: argparse.Namespace, secret_filter: SecretFilter) -> Exit:
    url = _url(options)
    token = read_token(options.token_file, os.environ)
    secret_filter.add([token])
    allowed = allowlist.parse(options.allow, options.allow_file)
    secrets = read_secrets(options.secrets_file, os.environ)
    secret_filter.add(secrets.hidden())
    context, proxy = trusting(options.ca_file), server_proxy(url, os.environ)
    if proxy is not None:
        secret_filter.add([proxy.password])
    engines = engine_versions()
    if not engines:
        raise check.NO_ENGINES
    state = State(options.state_dir or default_folder(dict(os.environ)), server=url)
    client = Client(url, token, context=context, proxy=proxy)
    try:
        capacity = Capacity(options.engine_memory or default_memory_mb())
        host = platform.node()[:200]
        setup = Setup(client, allowed, secrets, capacity, secret_filter, engines, host, options.once)
        runner = Runner(setup, state, concurrency=options.concurrency, grace_seconds=options.grace)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runner.stop)
        log.info("assay-runner %s; engines: %s", __version__, ", ".join(engines))
        log.info("may test: %s", allowlist.in_words(allowed))
        return await runner.work()
    finally:
        await client.aclose()
        state.close()


async def _check(options: argparse.Namespace, secret_filter: SecretFilter) -> Exit:
    """Everything that can be wrong, all of it at once."""
    findings = check.Findings(say)
    url = findings.holds("--url is an address", lambda: _url(options))
    token = findings.holds("there is a token", lambda: read_token(options.token_file, os.environ))
    if token:
        secret_filter.add([token])
        file: Path | None = options.token_file
        if file and open_to_others(file, file.stat().st_mode, os.environ):
            findings.note(f"other users of this machine can read the token: chmod 600 {file}")
    allowed = findings.holds("there is an allow-list", lambda: allowlist.parse(options.allow, options.allow_file))
    if allowed:
        findings.well(f"may test: {allowlist.in_words(allowed)}")
    if options.secrets_file is not None:
        findings.holds("the secrets file can be read", lambda: read_secrets(options.secrets_file, os.environ))
    folder = options.state_dir or default_folder(dict(os.environ))
    if url:
        findings.holds(f"the state folder is {folder}", partial(check_folder, folder, server=url))
    check.check_engines(findings)
    if url and token:
        try:
            proxy = server_proxy(url, os.environ)
            client = Client(url, token, context=trusting(options.ca_file), proxy=proxy)
        except Problem as problem:
            findings.wrong(problem)
        else:
            try:
                await check.check_server(findings, client)
            finally:
                await client.aclose()
    return findings.exit_code
