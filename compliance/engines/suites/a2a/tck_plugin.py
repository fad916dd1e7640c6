"""Loaded into the kit's own pytest: writes what became of each test to standard output, a line of JSON each.

It stands alone: the interpreter that loads it is the kit's, which has none of our packages.
"""

import json
import sys
from typing import Any

_TEXT = 2000  # characters of an explanation


def _say(**event: Any) -> None:
    sys.stdout.write(f"\x1eASSAY {json.dumps(event)}\n")
    sys.stdout.flush()


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        _say(event="broken")


def pytest_collection_finish(session: Any) -> None:
    _say(event="collected", tests=[item.nodeid for item in session.items])


def pytest_runtest_logreport(report: Any) -> None:
    # One line a test: what happens around it counts only where it did not go well.
    if report.when == "call" or not report.passed:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
        _say(
            event="test",
            test=report.nodeid,
            outcome=report.outcome,
            when=report.when,
            expected_failure=hasattr(report, "wasxfail"),
            reason=str(getattr(report, "wasxfail", "") or reason)[-_TEXT:],
            seconds=report.duration,
        )


def pytest_sessionfinish(session: Any, exitstatus: int) -> None:
    _say(event="end")
