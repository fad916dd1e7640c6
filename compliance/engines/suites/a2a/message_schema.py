"""What is wrong with a JSON value that should be a message of the protocol: names, types, required fields.

The SDK's parser takes both namings and numeric enums, as ProtoJSON parsers must; what an agent sends has to be the
one form that the specification names. So the raw JSON is compared with the message's own description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from compliance.engines.http.jsonrpc import pointer

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_FREE = {"google.protobuf.Struct": dict, "google.protobuf.ListValue": list}
# Its required fields are there even when there is nothing to list.
_MAY_BE_EMPTY = {"lf.a2a.v1.ListTasksResponse"}
_INTEGERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}


class Kind(StrEnum):
    NAME = "name"  # snake_case where camelCase has to be
    ENUM = "enum"
    TIMESTAMP = "timestamp"
    REQUIRED = "required"
    ONE_OF = "one_of"
    TYPE = "type"


STRUCTURE = (Kind.TYPE, Kind.REQUIRED, Kind.ONE_OF)
SERIALIZATION = (Kind.NAME, Kind.ENUM, Kind.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Flaw:
    kind: Kind
    at: str  # JSON pointer into the value
    words: str

    def __str__(self) -> str:
        return f"{self.at or '(root)'} {self.words}"


def flaws(message: Descriptor, value: Any, path: tuple[Any, ...] = ()) -> Iterator[Flaw]:
    """Every way in which a JSON value is not that message, outermost first. The value is of a bearable size."""
    if not isinstance(value, dict):
        yield Flaw(Kind.TYPE, pointer(path), "is not an object")
        return
    given: dict[str, Any] = {}
    for field in message.fields:
        wrong_name = field.name != field.json_name and field.name in value
        if wrong_name:
            yield Flaw(Kind.NAME, pointer((*path, field.name)), f"should be called {field.json_name}")
        key = field.json_name if field.json_name in value else field.name
        if value.get(key) is not None:
            given[field.name] = value[key]
            yield from _field(field, value[key], (*path, key))
    for field in message.fields:
        if _is_required(field) and _is_missing(message, field, given):
            missing = field.name not in given
            at = path if missing else (*path, field.json_name)
            yield Flaw(Kind.REQUIRED, pointer(at), f"lacks {field.json_name}" if missing else "is empty")
    for choice in message.oneofs:
        names = [field.name for field in choice.fields]
        chosen = [field.json_name for field in choice.fields if field.name in given]
        if len(names) > 1 and len(chosen) != 1:
            said = " and ".join(chosen) or "none"
            yield Flaw(Kind.ONE_OF, pointer(path), f"has {said} where exactly one of {len(names)} fields has to be")


def _is_required(field: FieldDescriptor) -> bool:
    return FieldBehavior.REQUIRED in field.GetOptions().Extensions[field_behavior]


def _is_missing(message: Descriptor, field: FieldDescriptor, given: dict[str, Any]) -> bool:
    if field.name not in given:
        return True
    return message.full_name not in _MAY_BE_EMPTY and given[field.name] in ("", [])


def _field(field: FieldDescriptor, value: Any, path: tuple[Any, ...]) -> Iterator[Flaw]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if not isinstance(value, dict):
            yield Flaw(Kind.TYPE, pointer(path), "is not an object")
            return
        for key, item in value.items():
            yield from _single(entry.fields_by_name["value"], item, (*path, key))
    elif field.is_repeated:
        if not isinstance(value, list):
            yield Flaw(Kind.TYPE, pointer(path), "is not a list")
            return
        for index, item in enumerate(value):
            yield from _single(field, item, (*path, index))
    else:
        yield from _single(field, value, path)


def _single(field: FieldDescriptor, value: Any, path: tuple[Any, ...]) -> Iterator[Flaw]:
    at = pointer(path)
    if field.message_type is not None:
        name = field.message_type.full_name
        if name == "google.protobuf.Timestamp":
            if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
                yield Flaw(Kind.TIMESTAMP, at, "is not an ISO 8601 time in UTC that ends in Z")
        elif name in _FREE:
            if not isinstance(value, _FREE[name]):
                yield Flaw(Kind.TYPE, at, "is not an object")
        elif name != "google.protobuf.Value":
            yield from flaws(field.message_type, value, path)
    elif field.enum_type is not None:
        names = field.enum_type.values_by_name
        if not isinstance(value, str) or value not in names:
            yield Flaw(Kind.ENUM, at, f"is no {field.enum_type.name} by its name")
        elif names[value].number == 0:
            yield Flaw(Kind.ENUM, at, "is unspecified")
    elif not _is_scalar(field, value):
        yield Flaw(
            Kind.TYPE, at, f"is {'a list or an object' if isinstance(value, (list, dict)) else 'of another type'}"
        )


def _is_scalar(field: FieldDescriptor, value: Any) -> bool:
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return isinstance(value, str)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return isinstance(value, bool)
    if field.type in _INTEGERS:
        # Long integers are strings in ProtoJSON.
        return type(value) is int or (isinstance(value, str) and value.isdigit())
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)
