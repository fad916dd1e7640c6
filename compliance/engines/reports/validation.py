"""The one gate through which a report becomes a run (L16), and the JSON Schema that is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from compliance.engines.reports.model import REPORT, Report, Sizes

SCHEMA_FILE = Path(__file__).parent / "schema" / "report-1.json"
STEPS = 10_000  # the record numbers them in 15 bits
SCENARIOS = 2_000  # in all tracks, empty ones included; the largest official suite has some 270
WORDS = 16 * 1024 * 1024  # characters of all sentences and keys: they are one value of the record, and one page


class BadReport(ValueError):
    """What an engine returned is no report; the message names the first bad place, and quotes nothing of it."""


def accepted(report: object, *, engine: str, suite: str) -> Report:
    """The report that an engine returned for a run of this suite, as a plain one. Raises BadReport.

    It is built anew, so that nothing of an engine's own classes is left in it, and its text is cleaned.
    """
    if not isinstance(report, Report):
        raise BadReport(f"it returned {type(report).__name__} and no report")
    try:
        return _checked(report, engine, suite)
    except BadReport:
        raise
    except Exception as error:  # noqa: BLE001
        # A class of the engine's own may do anything when it is read, and would take other runs in flight with it.
        raise BadReport(f"its report cannot be read ({type(error).__name__})") from None


def from_json(data: Any, *, engine: str | None = None, suite: str | None = None) -> Report:
    """The report that these JSON values are, cleaned. Raises BadReport for what the schema or a limit refuses.

    engine, suite: whose it has to be, and about which suite.
    """
    if isinstance(data, dict) and "schema" not in data:
        raise BadReport("schema: is missing")
    return _checked(data, engine, suite)


def _checked(data: Any, engine: str | None, suite: str | None) -> Report:
    try:
        report = REPORT.validate_python(data, context=Sizes())
    except ValidationError as error:
        raise _first(error) from None
    if engine not in (None, report.engine):
        raise BadReport("engine: the report is in the name of another engine")
    if suite not in (None, report.suite):
        raise BadReport("suite: the report is about another suite")
    _check_keys(report)
    return report


def _first(error: ValidationError) -> BadReport:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place, words = first["loc"], first["msg"]
    if first["type"] == "unexpected_keyword_argument":
        place = place[:-1]  # a name that may hold what an agent sent
    if place[:1] in (("observations",), ("runtime",)):
        place = place[:1]  # so are their keys
    path = [str(part)[:60] for part in place]
    ours = first["type"] in ("open", "payload")
    return BadReport(f"{'/'.join(path) or 'the report'}: {words if ours else f'breaks the schema: {words}'}")


def _check_keys(report: Report) -> None:
    """The limits and the unique keys that a schema cannot tell."""
    scenarios: set[str] = set()
    count = words = 0
    for t, track in enumerate(report.tracks):
        for s, scenario in enumerate(track.scenarios):
            path = f"tracks/{t}/scenarios/{s}"
            if scenario.key in scenarios:
                raise BadReport(f"{path}/key: two scenarios have the same key")
            scenarios.add(scenario.key)
            if len(scenarios) > SCENARIOS:
                raise BadReport(f"{path}: more than {SCENARIOS:,} scenarios in all")
            if len({step.key for step in scenario.steps}) < len(scenario.steps):
                raise BadReport(f"{path}/steps: two steps have the same key")
            count += len(scenario.steps)
            if count > STEPS:
                raise BadReport(f"{path}/steps: more than {STEPS:,} steps in all")
            words += len(scenario.key) + len(scenario.title)
            words += sum(
                len(step.key) + len(step.title) + len(step.expected) + len(step.actual) + len(step.spec_url)
                for step in scenario.steps
            )
            if words > WORDS:
                raise BadReport(f"{path}/steps: more than {WORDS:,} characters in all")


class _Published(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # they would say the fields' names again


def schema_text() -> str:
    """What schema/report-1.json holds: `python -m compliance.engines.reports.validation` writes it."""
    schema = REPORT.json_schema(schema_generator=_Published)
    schema["required"].insert(0, "schema")  # the class knows it, a document has to say it
    about = {"$schema": GenerateJsonSchema.schema_dialect, "$id": "urn:assay:report:1"}
    return json.dumps(about | schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
