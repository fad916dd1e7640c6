"""Stack traces in errors are found, and looking for them costs little whatever the agent sends."""

from __future__ import annotations

import time
from typing import Any

import pytest

from compliance.engines.suites.baseline.mcp_tools import has_stack


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Traceback (most recent call last): KeyError"},
        {"message": "TypeError: x is not a function\n    at Object.call (/app/server.js:10:5)"},
        {"message": "oops", "data": {"stack": "Error: oops\n    at run (/app/server.js:10:5)"}},
        {"message": "oops", "data": "at com.example.Main.run(Main.java:12)"},
        {"message": "oops\n\tat com.example.Main.<init>(Main.java:12)"},
        {"message": "x" * 30_000, "data": "goroutine 7 [running]:"},
    ],
)
def test_stack_traces_are_found(error: dict[str, Any]) -> None:
    assert has_stack(error)


@pytest.mark.parametrize("message", ["Unknown tool", "Tool not found\nat this address", "Look at it at 10:30", ""])
def test_other_errors_have_none(message: str) -> None:
    assert not has_stack({"message": message})


@pytest.mark.parametrize("name", ["message", "data"])
@pytest.mark.parametrize("size", [20_000, 4_000_000])
@pytest.mark.parametrize("part", ["\n", "\n ", " ", "\nat a", "\\nat a", "at ", "a ", "\n at a("])
def test_looking_for_one_takes_little_time(part: str, size: int, name: str) -> None:
    text = "\nat " + part * (size // len(part))
    started = time.process_time()

    assert not has_stack({"message": "", name: text})
    assert time.process_time() - started < 1
