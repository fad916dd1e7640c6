"""`python -m benchmarks`: start servers of our own, load, measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers import Services, services

SHARED_BUFFERS = "2GB"
QUICK_RUNS = "10000,200000"
RUNS = "10000,1000000,10000000"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
NAMES = ("view", "history", "record", "heartbeats", "tick", "adcp", "pages", "waiting", "leases", "worker")
MONITORS = 10_000, 1_000_000
QUICK_MONITORS = 10_000, 100_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", help="one benchmark; may be repeated")
    parser.add_argument("--runs", help=f"sizes of the table of runs, by comma (default {RUNS})")
    parser.add_argument("--quick", action="store_true", help=f"small tables ({QUICK_RUNS}) and few repetitions")
    parser.add_argument("--data-dir", type=Path, help="keep the loaded databases here for the next time")
    parser.add_argument("--write", type=Path, help="where the document goes (default docs/benchmarks.md, if complete)")
    options = parser.parse_args()
    busy = os.getloadavg()  # before we add to it
    sizes = sorted(int(size) for size in (options.runs or (QUICK_RUNS if options.quick else RUNS)).split(","))
    with (
        tempfile.TemporaryDirectory(prefix="assay-static-") as static,
        services(options.data_dir, durable=True, shared_buffers=SHARED_BUFFERS) as running,
    ):
        os.environ.update(environment(running), STATIC_ROOT=static)
        import django

        django.setup()
        # After setup: what measures imports the models.
        from benchmarks import document

        sections = []
        for name, measure in benchmarks(running, sizes, quick=options.quick).items():
            if options.only and name not in options.only:
                continue
            started = time.perf_counter()
            section = measure()
            print(document.as_text(section, time.perf_counter() - started), flush=True)
            sections.append(section)
        path = options.write or (None if options.only or options.quick or options.runs else DOCUMENT)
        if path is not None:
            path.write_text(document.as_markdown(sections, running.postgres, busy))
            print(f"Written to {path}")


def environment(running: Services) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "compliance.settings",
        **running.environment(),
        "SECRET_KEY": "only-for-benchmarks-" + "0123456789" * 4,
        "ASSAY_VAULT_KEYS": "YmVuY2htYXJrcy1vbmx5LWJlbmNobWFya3Mtb25seS0",
        "SITE_URL": "http://localhost:8000",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "ASSAY_EGRESS_ALLOW": "127.0.0.0/8",
        "DEBUG": "false",
        "LOG_LEVEL": "WARNING",
    }


def benchmarks(running: Services, sizes: list[int], *, quick: bool) -> dict[str, Callable[[], object]]:
    """Each benchmark by name. Loading and the template are made when the first one needs them."""
    from benchmarks import adcp, heartbeats, history, leases, load, pages, record, tick, view, waiting, worker
    from benchmarks.databases import make_template

    postgres = running.postgres
    loaded: set[int] = set()

    def need(*wanted: int) -> None:
        if not loaded:
            make_template(postgres)
        for size in wanted:
            if size not in loaded:
                seconds = load.load(postgres, size)
                words = "kept from before" if seconds is None else f"loaded in {seconds:.0f} s"
                print(f"{size:,} runs: {words}", flush=True)
                loaded.add(size)

    def with_runs(measure: Callable[[], object], *wanted: int) -> Callable[[], object]:
        def run() -> object:
            need(*wanted)
            return measure()

        return run

    largest = sizes[-1]
    few = 5 if quick else 1
    return {
        "view": with_runs(lambda: view.measure(postgres, sizes, rounds=500 // few), *sizes),
        "history": with_runs(lambda: history.measure(largest, rounds=200 // few), largest),
        "record": with_runs(lambda: record.measure(postgres, rounds=400 // few)),
        "heartbeats": with_runs(lambda: heartbeats.measure(postgres, rounds=10 // few, agents=60 // few)),
        "tick": with_runs(
            lambda: tick.measure(
                postgres,
                due=1_000 if quick else 10_000,
                sizes=[*(QUICK_MONITORS if quick else MONITORS)],
                rounds=3,
            )
        ),
        "adcp": lambda: adcp.measure(rounds=10 // few),
        "pages": with_runs(lambda: pages.measure(running, largest, rounds=200 // few), largest),
        "waiting": with_runs(lambda: waiting.measure(running, runners=1000 // few, woken=100 // few)),
        "worker": with_runs(lambda: worker.measure(running, seconds=60.0 / few)),
        "leases": with_runs(lambda: leases.measure(running, seconds=30.0 / few)),
    }


if __name__ == "__main__":
    main()
