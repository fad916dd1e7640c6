"""Figures as text for a terminal and as the document that is committed."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg

from benchmarks.measure import Section
from compliance.embedded.postgres import Postgres

_PACKAGES = ("Django", "psycopg", "uvicorn", "a2wsgi", "mcp")


def as_text(section: Section, seconds: float) -> str:
    """A table for the terminal."""
    lines = ["", f"{section.title} ({seconds:.0f} s)"]
    width = max((len(figure.what) for figure in section.figures), default=0)
    for figure in section.figures:
        lines.append(f"  {figure.what:<{width}}  {figure.value:>22}  {figure.goal:<10} {figure.verdict}".rstrip())
    return "\n".join(lines)


def as_markdown(sections: Iterable[Section], postgres: Postgres, busy: tuple[float, float, float]) -> str:
    """The whole document."""
    sections = list(sections)
    judged = [figure for section in sections for figure in section.figures if figure.met is not None]
    missed = [figure for figure in judged if not figure.met]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Ratios are taken within one run, between cases that take turns; absolute times are "
        "this machine's, and only there to be compared with each other.",
        "",
        *_machine(postgres, busy),
        "",
        f"Goals met: {len(judged) - len(missed)} of {len(judged)}."
        + (f" Missed: {'; '.join(figure.what for figure in missed)}." if missed else ""),
    ]
    for section in sections:
        lines += [
            "",
            f"## {section.title}",
            "",
            section.how,
            "",
            "| what | measured | goal | |",
            "| --- | ---: | --- | --- |",
        ]
        lines += [f"| {f.what} | {f.value} | {f.goal} | {f.verdict} |" for f in section.figures]
    return "\n".join(lines) + "\n"


def _machine(postgres: Postgres, busy: tuple[float, float, float]) -> list[str]:
    with psycopg.connect(postgres.superuser_url) as connection:
        server = connection.execute("SHOW server_version").fetchone()
        buffers = connection.execute("SHOW shared_buffers").fetchone()
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        "| | |",
        "| --- | --- |",
        f"| date | {datetime.now(UTC):%Y-%m-%d} |",
        f"| processor | {_processor()}, {psutil.cpu_count()} cores |",
        f"| load before the run | {', '.join(f'{load:.2f}' for load in busy)} (1, 5 and 15 minutes) |",
        f"| memory | {psutil.virtual_memory().total / 2**30:.0f} GB |",
        f"| system | {platform.system()} {platform.release()}, Python {platform.python_version()} |",
        f"| PostgreSQL | {server[0] if server else ''}, shared_buffers {buffers[0] if buffers else ''}, durable |",
        f"| packages | {packages} |",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
