"""The word for each status and verdict, the same on every page (R6). common/_badge.html adds a colour and a shape."""

from __future__ import annotations

WORDS = {
    # What a whole run, or an agent, is.
    "passing": "Passing",
    "partial": "Partial",
    "failing": "Failing",
    "inconclusive": "Inconclusive",
    "never": "No result yet",
    # What one step says.
    "passed": "Passed",
    "failed": "Failed",
    "skipped": "Skipped",
    "silent": "Silent",
    "not_applicable": "Not applicable",
    "not_tested": "Not tested",
    # Where a job is.
    "queued": "Queued",
    "leased": "Running",
}
