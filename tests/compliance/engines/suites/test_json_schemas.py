"""Whether a tool may be called without arguments is asked of its whole input schema (E7)."""

from __future__ import annotations

from typing import Any

import pytest

from compliance.engines.suites.json_schemas import takes_nothing

_A = {"A": {"required": ["a"]}, "B": {"properties": {"b": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("schema", "takes"),
    [
        ({}, True),
        ({"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}, True),
        ({"required": []}, True),
        ({"additionalProperties": False}, True),
        ({"anyOf": [{"required": ["a"]}, {}]}, True),
        ({"allOf": [{"$ref": "#/$defs/B"}], "$defs": _A}, True),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, True),
        ({"dependentRequired": {"a": ["b"]}}, True),
        ({"required": ["a"]}, False),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, False),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, False),
        ({"minProperties": 1}, False),
        ({"allOf": [{"$ref": "#/$defs/A"}], "$defs": _A}, False),
        ({"$ref": "#/$defs/A", "$defs": _A}, False),
        ({"not": {}}, False),
        ({"if": {"properties": {"a": False}}, "then": {"required": ["b"]}}, False),
        ({"enum": [{"a": 1}]}, False),
        ({"$ref": "#"}, False),  # without end: nobody can say
        ({"$ref": "https://schemas.example/a.json"}, False),
        ({"required": "a"}, False),  # no schema at all
    ],
    ids=str,
)
def test_tool_takes_nothing_only_if_its_whole_schema_allows_it(schema: dict[str, Any], takes: bool) -> None:
    assert takes_nothing({"type": "object"} | schema, 2000) is takes


@pytest.mark.parametrize("schema", [None, True, [], "object", {"type": "array"}])
def test_what_is_no_object_schema_takes_nothing(schema: Any) -> None:
    assert takes_nothing(schema, 2000) is False
