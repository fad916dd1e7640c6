"""The examples of docs/api.md, as a script has them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import PROJECT

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (PROJECT / "docs" / "api.md").read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.processes
def test_what_the_examples_begin_with_works_in_a_script_of_any_shell(tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    curl.chmod(0o755)
    script = BLOCKS[0] + """assay -X POST -d '{"a": "b c"}' "$ASSAY/api/v1/agents"\n"""
    for shell in ("sh", "bash"):
        done = subprocess.run(
            [shell, "-eu", "-c", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            text=True,
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "<--silent><--show-error><--header><Authorization: Bearer ask_…>"
            """<-X><POST><-d><{"a": "b c"}><https://assay.example/api/v1/agents>"""
        )


@pytest.mark.processes
def test_every_example_is_a_shells(tmp_path: Path) -> None:
    assert len(BLOCKS) > 3
    for block in BLOCKS:
        done = subprocess.run(["sh", "-n", "-c", block], text=True, capture_output=True, check=False, timeout=20)
        assert (done.returncode, done.stderr) == (0, ""), block
