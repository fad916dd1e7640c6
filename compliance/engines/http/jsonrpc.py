"""JSON and JSON-RPC as agents send them, read strictly, and the words for what is wrong (E9)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from compliance.engines.http.exchange import Exchange

_POINTER_LENGTH = 2000  # characters: keys are the agent's, and may be of any length
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_REMEMBERED = 256 * 1024
_BOM = b"\xef\xbb\xbf"
# The way to a value: the way to what holds it, and its name or number there; None is the whole document.
Path = tuple["Path", str | int] | None
_ENVELOPE = ("/jsonrpc", "/id", "/result", "/error", "/error/code", "/error/message")


class Reading(NamedTuple):
    """A JSON document. What breaks a rule and can be read all the same has its value beside its problem."""

    value: Any
    problem: str = ""  # words that go on from "it is"
    at: str = ""  # where, as a JSON pointer
    repeated: tuple[str, ...] = ()  # names that stand twice in one object, not deep inside: allowed, but unclear


class Message(NamedTuple):
    """The JSON-RPC answer of an exchange."""

    value: dict[str, Any] | None  # also where it breaks a rule but can be read
    problem: str = ""
    at: str = ""  # a JSON pointer into the exchange's evidence


def read_json(raw: bytes) -> Reading:
    """Read JSON as RFC 8259 has it: no byte order mark, no NaN, no half surrogates."""
    marked = raw.startswith(_BOM)
    constants: list[str] = []
    doubled: list[tuple[dict[str, Any], list[str]]] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    def paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            doubled.append((made, [name for name, count in counts.items() if count > 1]))
        return made

    try:
        text = raw.removeprefix(_BOM).decode("utf-8")
        value = json.loads(text, parse_constant=constant, object_pairs_hook=paired)
    except UnicodeDecodeError:
        return Reading(None, "not valid UTF-8")
    except RecursionError:
        return Reading(None, "nested too deeply")
    except ValueError:
        return Reading(None, "not valid JSON")
    if marked:
        return Reading(value, "not valid JSON: it begins with a byte order mark (RFC 8259, section 8.1)")
    if constants:
        at = _first(value, lambda each: isinstance(each, float) and (each != each or abs(each) == float("inf")))
        at = at or ""  # a later value of the same name may have taken its place
        return Reading(value, f"not valid JSON: {constants[0]} is no number in JSON", at)
    if _ESCAPED_SURROGATE.search(raw) and (at := _first(value, _is_torn)) is not None:
        return Reading(value, "not valid Unicode: it has half a surrogate pair", at)
    return Reading(value, repeated=tuple(_repeated(value, doubled)) if doubled else ())


def parse(raw: bytes) -> tuple[Any, str]:
    """JSON, or None and what it is instead."""
    value, problem, _, _ = read_json(raw)
    return (None, problem) if problem else (value, "")


def _is_torn(value: Any) -> bool:
    return isinstance(value, str) and _SURROGATE.search(value) is not None


def _walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every value with the way to it, and every name of an object at the place of its value, in order.

    The ways are no pointers yet: with a long name above many values, those would be larger than the document.
    """
    yield None, value
    opened: list[tuple[Path, Iterator[tuple[str | int, Any]]]] = [(None, _inside(value))]
    while opened:
        above, inside = opened[-1]
        for key, item in inside:
            path = (above, key)
            if isinstance(key, str):
                yield path, key
            yield path, item
            if isinstance(item, dict | list):
                opened.append((path, _inside(item)))
                break
        else:
            opened.pop()


def _inside(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _place(path: Path) -> str:
    keys: list[str | int] = []
    while path is not None:
        path, key = path
        keys.append(key)
    return pointer(reversed(keys))


def _first(value: Any, found: Callable[[Any], bool]) -> str | None:
    return next((_place(path) for path, each in _walk(value) if found(each)), None)


def _repeated(value: Any, doubled: list[tuple[dict[str, Any], list[str]]]) -> Iterator[str]:
    """Where names stand twice, in the document itself and what is right inside it."""
    names = {id(made): twice for made, twice in doubled}
    for path, each in [(None, value), *(((None, key), item) for key, item in _inside(value))]:
        for name in names.get(id(each), ()):
            yield _place((path, name))


def read_message(exchange: Exchange) -> Message:
    """The JSON-RPC answer in an exchange, and what is wrong with it."""
    if exchange.fault is not None:
        return Message(None, exchange.fault.message, "/response/fault")
    size = len(exchange.body)
    if exchange.read_as is not None and exchange.read_as[0] == size:
        known: Message = exchange.read_as[1]
        return known
    message = _read_message(exchange)
    if size <= _REMEMBERED:  # a large one takes many times its size in memory
        exchange.read_as = (size, message)
    return message


def _read_message(exchange: Exchange) -> Message:
    raw, status = bytes(exchange.body), exchange.status
    if exchange.media_type == "text/event-stream":
        return _message_in_events(raw, exchange)
    at = "/response/status" if status >= 400 else "/response/body"
    if not raw.strip():
        return Message(None, f"status {status} with an empty body", "/response/status")
    reading = read_json(raw)
    if exchange.media_type not in ("application/json", "application/a2a+json") and (
        not _is_answer(reading.value) or status < 400
    ):
        if status >= 400:
            return Message(None, f"status {status} and no JSON-RPC answer", at)
        kind = exchange.media_type or "missing"
        words = f"status {status}, and the content type is {kind} instead of application/json"
        return Message(None, words, "/response/headers/content-type")
    if reading.value is None and reading.problem:
        return Message(None, f"status {status} with a body that is {reading.problem}", at)
    if not _is_answer(reading.value):
        return Message(None, f"status {status} with JSON that is not a JSON-RPC 2.0 answer", at)
    return _judged(reading, exchange, f"status {status} with a body that is ")


def message_of(exchange: Exchange) -> tuple[dict[str, Any] | None, str]:
    """The JSON-RPC answer in an exchange, or None and why there is none that keeps the rules."""
    message = read_message(exchange)
    return (None, message.problem) if message.problem else (message.value, "")


def wrong_at(exchange: Exchange) -> str:
    """Where to look when an exchange holds no proper JSON-RPC answer: a JSON pointer into its evidence."""
    return read_message(exchange).at or "/response/body"


class AnswerInStream:
    """Looks for the answer in an event stream that is still being read: at each of its events once."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._seen = 0  # where the events end that were looked at
        self._read = 0

    def is_there(self) -> bool:
        body = self._exchange.body
        start = max(self._seen, self._read - 3)
        self._read = len(body)
        end = max(body.rfind(mark, start) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        if end < 0:
            return False
        events, self._seen = bytes(body[self._seen : end]), end
        return _message_in_events(events, self._exchange).value is not None


def _message_in_events(raw: bytes, exchange: Exchange) -> Message:
    problem = "an event stream that ended without an answer"
    found: Message | None = None
    for block in raw.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if not lines or not any(lines):
            continue
        reading = read_json(b"\n".join(lines))
        if reading.value is None and reading.problem:
            problem = f"an event that is {reading.problem}"
        elif _is_answer(reading.value):
            found = _judged(reading, exchange, "an event that is ")
            if not found.problem or _has_id_of(_request_of(exchange), reading.value):
                return found  # the first answer to the request counts, whatever comes after it
    return found or Message(None, problem, "/response/status" if exchange.status >= 400 else "/response/body")


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and value.get("jsonrpc") == "2.0" and ("result" in value or "error" in value)


def _judged(reading: Reading, exchange: Exchange, lead: str) -> Message:
    """An answer, with the first rule of JSON or JSON-RPC 2.0 that it breaks."""
    value = reading.value
    if reading.problem:
        return Message(value, f"{lead}{reading.problem}", f"/response/body{reading.at}")
    problem, at = _envelope_problem(value, exchange)
    if problem:
        return Message(value, problem, f"/response/body{at}")
    if "result" in value and exchange.status >= 400:
        return Message(value, f"a result with the error status {exchange.status}", "/response/status")
    twice = next((place for place in reading.repeated if place in _ENVELOPE), "")
    if twice:
        return Message(value, f"a JSON-RPC answer that has {twice} twice", f"/response/body{twice}")
    return Message(value)


def _envelope_problem(value: dict[str, Any], exchange: Exchange) -> tuple[str, str]:
    if "result" in value and "error" in value:
        return "a JSON-RPC answer with both a result and an error", "/error"
    error = value.get("error")
    if "error" in value:
        if not isinstance(error, dict):
            return "a JSON-RPC error that is not an object", "/error"
        if type(error.get("code")) is not int:
            return "a JSON-RPC error without a whole number as its code", "/error/code"
        if not isinstance(error.get("message"), str):
            return "a JSON-RPC error without a message", "/error/message"
    asked = _request_of(exchange)
    if "id" not in asked or _has_id_of(asked, value):
        return "", ""
    want, got = asked["id"], value.get("id")
    # An error may come before the request's id was read; then it has none, or one of the server's own.
    if "error" in value and (got is None or exchange.status >= 400):
        return "", ""
    said = "it has no id" if "id" not in value else f"its id is {_shown(got)}"
    return f"the answer does not belong to the request: {said} and not {_shown(want)}", "/id" if "id" in value else ""


def _has_id_of(request: dict[str, Any], answer: dict[str, Any]) -> bool:
    want, got = request.get("id"), answer.get("id")
    return "id" in request and type(got) is type(want) and got == want


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:100]


def _request_of(exchange: Exchange) -> dict[str, Any]:
    try:
        value = json.loads(exchange.request_body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and "method" in value else {}


def error_of(message: dict[str, Any] | None) -> tuple[Any, str]:
    """Code and text of a JSON-RPC error; (None, "") when the message is no error."""
    error = message.get("error") if message else None
    if not isinstance(error, dict):
        return None, ""
    return error.get("code"), str(error.get("message", ""))


def method_of(exchange: Exchange) -> str:
    return str(_request_of(exchange).get("method", ""))


def pointer(path: Any) -> str:
    """A place in a JSON document as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def reached(document: Any, place: str) -> str:
    """The deepest place on a JSON pointer's way that the document has; "" when not even its first part is there.

    What would make the pointer longer than a report may hold is left out of it.
    """
    at, value = "", document
    for part in place.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            break
        if len(at) + 1 + len(part) > _POINTER_LENGTH:
            break
        at = f"{at}/{part}"
    return at
