"""JSON Schemas that agents publish: are they valid, and does a value match one. Bounded in time.

A schema is hostile input: it may be huge, refer to itself without end, multiply by references, or hold a
regular expression that never returns. Nothing is ever fetched for a reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

import jsonschema
import referencing
from jsonschema import validators
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator

from compliance.engines.http.jsonrpc import pointer

_COMPARISON_BUDGET = 20_000  # keywords applied to a value; about a second
_SMALL_BUDGET = 200  # about ten milliseconds, enough for nearly all
_MAX_DEPTH = 60
_REMEMBERED = 4096
# Characters of what the agent wrote. Far more than anybody shows: who redacts it must see that it was cut here.
_QUOTED = 2000
_NO_FETCHING: referencing.Registry = referencing.Registry()

_verdicts: OrderedDict[str, str] = OrderedDict()
_metaschemas: dict[type, Any] = {}


class TooLarge(Exception):
    """The schema is beyond what is checked."""


class CannotCompare(Exception):
    """The value cannot be checked safely, in words."""


class Budget:
    """How many JSON values of schemas one run still checks."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes

    def spend(self, count: int) -> None:
        if count > self.nodes:
            raise TooLarge
        self.nodes -= count


async def problem_in(schema: Any, budget: Budget) -> str:
    """What is wrong with a schema, with its place as a JSON pointer; "" when nothing is."""
    if not isinstance(schema, dict | bool):
        return "(root): a schema is an object or a boolean"
    count = size(schema, budget.nodes)
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
    known = _verdicts.get(digest)
    if known is None:
        budget.spend(count)
        # Long ones go to a thread, so that the other runs of this process are not held up.
        known = await asyncio.to_thread(_check, schema) if count > 200 else _check(schema)
        _verdicts[digest] = known
        if len(_verdicts) > _REMEMBERED:
            _verdicts.popitem(last=False)
    return known


def size(value: Any, limit: int) -> int:
    """How many values a JSON document holds; raises TooLarge beyond the limit or when nested too deeply."""
    count, layer, depth = 0, [value], 0
    while layer:
        count, depth = count + len(layer), depth + 1
        if count > limit or depth > _MAX_DEPTH:
            raise TooLarge
        layer = [
            inner
            for item in layer
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
    return count


def _dialect(schema: Any) -> type[Validator] | None:
    """The draft a schema is written in: 2020-12 unless it says otherwise; None for one we do not have."""
    declared = schema.get("$schema") if isinstance(schema, dict) else None
    if declared is None:
        return jsonschema.Draft202012Validator
    if not isinstance(declared, str):
        return None
    return validators.validator_for(schema, default=None)  # type: ignore[arg-type]


def _check(schema: Any) -> str:
    dialect = _dialect(schema)
    if dialect is None:
        return "/$schema: names a dialect that is not a published one"
    meta = _metaschemas.get(dialect)
    if meta is None:
        meta = _metaschemas[dialect] = dialect(dialect.META_SCHEMA)
    error = best_match(meta.iter_errors(schema))
    if error is not None:
        return f"{pointer(error.absolute_path) or '(root)'}: {error.message[:_QUOTED]}"
    for place, reference in _references(schema):
        if _resolved(schema, reference) is _NOTHING:
            return f"{place}: points to nothing: {reference[:_QUOTED]}"
    return ""


# Where schemas are inside a schema, in any of the drafts. Elsewhere "$ref" is a name like any other.
_SCHEMAS = {
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_LISTS = {"allOf", "anyOf", "items", "oneOf", "prefixItems"}
_NAMED = {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
_NOTHING = object()


def _references(schema: Any) -> Iterator[tuple[str, str]]:
    """Every reference of the schema and of what it refers to within itself, with its place."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), schema)]
    followed: set[str] = set()
    while waiting:
        path, value = waiting.pop()
        if not isinstance(value, dict) or (path and isinstance(value.get("$id"), str)):
            continue  # a part with an address of its own has its own references
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield pointer((*path, "$ref")), reference
            target = _resolved(schema, reference)
            if target is not _NOTHING and reference not in followed:
                followed.add(reference)
                waiting.append((_parts(reference), target))
        for key, inner in value.items():
            if key in _SCHEMAS and isinstance(inner, dict):
                waiting.append(((*path, key), inner))
            elif key in _LISTS and isinstance(inner, list):
                waiting += [((*path, key, index), each) for index, each in enumerate(inner)]
            elif key in _NAMED and isinstance(inner, dict):
                waiting += [((*path, key, name), each) for name, each in inner.items()]


def _parts(reference: str) -> tuple[str, ...]:
    parts = unquote(reference[1:]).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _resolved(schema: Any, reference: str) -> Any:
    """What a reference points to; None where it is not followed, _NOTHING where there is nothing."""
    if not reference.startswith("#/"):
        return None  # the schema itself, an anchor, or another resource
    value = schema
    for key in _parts(reference):
        if isinstance(value, dict) and key in value:
            if "$id" in value and value is not schema:
                return None  # below another base address
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return _NOTHING
    return value


async def mismatch(instance: Any, schema: Any, limit: int) -> str:
    """Where and how a value does not match a valid schema; "" when it does. May raise CannotCompare."""
    try:
        size(schema, min(limit, 2000))
        size(instance, min(limit, 2000))
    except TooLarge:
        raise CannotCompare("the value or its schema is too large to compare") from None
    if _has_pattern(schema):
        raise CannotCompare("the schema uses regular expressions, which are not run")
    with contextlib.suppress(_Spent):
        return _compare(instance, schema, _SMALL_BUDGET)
    try:
        # In a thread, so that the other runs of this process are not held up.
        return await asyncio.to_thread(_compare, instance, schema, _COMPARISON_BUDGET)
    except _Spent:
        raise CannotCompare("comparing the value with the schema takes too long") from None


def takes_nothing(schema: Any, limit: int) -> bool:
    """Whether {} satisfies the whole of a schema. No, when that cannot be said."""
    try:
        size(schema, min(limit, 2000))
        # No pattern is run: {} holds no text.
        return isinstance(schema, dict) and not _compare({}, schema, _SMALL_BUDGET)
    except (TooLarge, CannotCompare, _Spent):
        return False


def _compare(instance: Any, schema: Any, budget: int) -> str:
    bounded = _bounded(_dialect(schema) or jsonschema.Draft202012Validator)
    token = _allowance.set(_Allowance(budget))
    try:
        error = best_match(bounded(schema, registry=_NO_FETCHING).iter_errors(instance))
    except (CannotCompare, _Spent):
        raise
    except RecursionError:
        raise CannotCompare("the schema refers to itself without end") from None
    except referencing.exceptions.Unresolvable:
        raise CannotCompare("the schema refers to another document, which is not fetched") from None
    except Exception as error:  # noqa: BLE001
        # Both are the agent's: were this a fault of the harness, an agent could keep a verdict away at will.
        raise CannotCompare(f"the comparison ended with {type(error).__name__}") from None
    finally:
        _allowance.reset(token)
    if error is None:
        return ""
    return f"{pointer(error.absolute_path) or '(root)'}: {error.message[:_QUOTED]}"


class _Spent(Exception):
    """The allowance of one comparison is used up."""


class _Allowance:
    """How much one comparison may still do, and how deep in it is."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.depth = 0

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise _Spent


_allowance: ContextVar[_Allowance] = ContextVar("allowance")


@functools.cache  # one for each of the few dialects: making such a class costs more than most comparisons
def _bounded(dialect: type[Validator]) -> Any:
    """The dialect, able to do so much and no more: parts that are small each multiply with each other."""

    def counted(name: str, keyword: Any) -> Any:
        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            allowance = _allowance.get()
            cost = 1 + _length(value) // 10 + _length(instance) // 10
            allowance.spend(cost + _length(instance) ** 2 // 20 if name == "uniqueItems" else cost)
            allowance.depth += 1
            try:
                # Before Python's own limit, which compiled code below does not survive.
                if allowance.depth > _MAX_DEPTH:
                    raise CannotCompare("the schema is too deep, or refers to itself without end")
                for error in keyword(validator, value, instance, schema) or ():
                    allowance.spend(1 + len(error.message) // 200)  # a message quotes the whole value
                    yield error
            finally:
                allowance.depth -= 1

        return check

    keywords = {name: counted(name, keyword) for name, keyword in dialect.VALIDATORS.items()}
    return validators.extend(dialect, keywords)  # type: ignore[no-untyped-call]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _has_pattern(schema: Any) -> bool:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str) or isinstance(schema.get("patternProperties"), dict):
            return True
        return any(_has_pattern(value) for value in schema.values())
    return isinstance(schema, list) and any(_has_pattern(value) for value in schema)
