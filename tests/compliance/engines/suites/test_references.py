"""What counts as a reference in the schemas that agents publish, and where each has to lead."""

from __future__ import annotations

from typing import Any

import pytest

from compliance.engines.suites.json_schemas import Budget, problem_in

BROKEN = {"$ref": "#/$defs/none"}
WHOLE = {"$ref": "#/$defs/n"}
DEFS = {"$defs": {"n": {"type": "string"}}}


async def problem(schema: Any) -> str:
    return await problem_in(schema, Budget(20_000))


NO_REFERENCES = {
    "unknown keyword": {"x-example": BROKEN},
    "deep in one": {"x-meta": {"properties": {"a": BROKEN}}},
    "a list of one": {"x-list": [BROKEN]},
    "example": {"example": BROKEN},
    "examples": {"examples": [BROKEN]},
    "default": {"default": BROKEN},
    "const": {"const": BROKEN},
    "enum": {"enum": [BROKEN]},
    "a property of this name": {"properties": {"$ref": {"type": "string"}}},
    "an unused part elsewhere": {"components": {"schemas": {"a": BROKEN}}},
    "required": {"required": ["$ref"]},
    "to itself": {"$ref": "#"},
    "an anchor": {"$ref": "#there"},
    "another document": {"$ref": "https://example.com/schema"},
    "another base": {"$defs": {"b": {"$id": "https://example.com/b", "$ref": "#/$defs/c", "$defs": {"c": {}}}}},
    "escaped": {"$defs": {"a/b~c": {}}, "$ref": "#/$defs/a~1b~0c"},
    "percent": {"$defs": {"a b": {}}, "$ref": "#/$defs/a%20b"},
    "in a list": {"allOf": [{}, {"$ref": "#/allOf/0"}]},
    "circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "into an unknown keyword": {"x-types": {"a": {"type": "string"}}, "$ref": "#/x-types/a"},
}


@pytest.mark.parametrize("schema", NO_REFERENCES.values(), ids=NO_REFERENCES)
async def test_what_is_no_broken_reference_is_no_fault(schema: dict[str, Any]) -> None:  # E8
    assert await problem(schema) == ""


APPLIED = {
    "itself": lambda part: part,
    "properties": lambda part: {"properties": {"a": part}},
    "a property called enum": lambda part: {"properties": {"enum": part}},
    "patternProperties": lambda part: {"patternProperties": {"^a": part}},
    "additionalProperties": lambda part: {"additionalProperties": part},
    "items": lambda part: {"items": part},
    "items of old": lambda part: {"$schema": "http://json-schema.org/draft-07/schema#", "items": [part]},
    "prefixItems": lambda part: {"prefixItems": [part]},
    "allOf": lambda part: {"allOf": [part]},
    "anyOf": lambda part: {"anyOf": [{}, part]},
    "oneOf": lambda part: {"oneOf": [part]},
    "not": lambda part: {"not": part},
    "if": lambda part: {"if": part},
    "then": lambda part: {"then": part},
    "else": lambda part: {"else": part},
    "contains": lambda part: {"contains": part},
    "propertyNames": lambda part: {"propertyNames": part},
    "dependentSchemas": lambda part: {"dependentSchemas": {"a": part}},
    "unevaluatedProperties": lambda part: {"unevaluatedProperties": part},
    "a definition": lambda part: {"definitions": {"a": part}},
    "nested": lambda part: {"properties": {"a": {"items": {"anyOf": [part]}}}},
    "what is referred to": lambda part: {"x-types": {"a": part}, "properties": {"b": {"$ref": "#/x-types/a"}}},
}


@pytest.mark.parametrize("apply", APPLIED.values(), ids=APPLIED)
async def test_a_reference_wherever_a_schema_is_has_to_lead_somewhere(apply: Any) -> None:
    assert "points to nothing" in await problem(apply(BROKEN))
    assert await problem(apply(WHOLE) | DEFS) == ""
