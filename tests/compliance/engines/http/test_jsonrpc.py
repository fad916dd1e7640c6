"""One strict reader of JSON and JSON-RPC: what breaks a rule is found, and said with its place (E9)."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines.http.exchange import Exchange
from compliance.engines.http.jsonrpc import AnswerInStream, message_of, pointer, reached, read_json, read_message

_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4))


@given(_JSON, st.booleans())
def test_every_json_document_is_read_without_a_problem(value: Any, escaped: bool) -> None:
    reading = read_json(json.dumps(value, ensure_ascii=escaped).encode())
    assert reading == (value, "", "", ())


@given(
    st.lists(_TEXT | st.integers(0, 3), max_size=5), _JSON, st.sampled_from(["NaN", "Infinity", "-Infinity", "torn"])
)
def test_what_is_no_json_is_found_wherever_it_stands(path: list[str | int], beside: Any, flaw: str) -> None:
    value: Any = "cut \ud83d" if flaw == "torn" else float(flaw)
    for part in reversed(path):
        value = {part: value} if isinstance(part, str) else [beside] * part + [value]
    reading = read_json(json.dumps(value).encode())

    assert reading.at == pointer(path)
    assert ("half a surrogate" if flaw == "torn" else flaw) in reading.problem
    assert reading.value is not None


@given(_JSON)
def test_a_byte_order_mark_is_a_problem_and_hides_nothing(value: Any) -> None:
    reading = read_json(b"\xef\xbb\xbf" + json.dumps(value).encode())
    assert reading.value == value
    assert "byte order mark" in reading.problem


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not valid UTF-8"),
        (b'"\xed\xa0\xbd"', "not valid UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"cut \\ud83d": 1}', "half a surrogate"),
        (b'"\\udc00\\ud83d"', "half a surrogate"),
    ],
)
def test_broken_json_is_told_apart(raw: bytes, words: str) -> None:
    assert words in read_json(raw).problem


def test_a_whole_pair_and_a_huge_number_are_fine() -> None:
    assert read_json(b'"\\ud83d\\ude00"') == ("\U0001f600", "", "", ())
    assert read_json(b"1e999").problem == ""


def test_problem_in_a_value_that_another_one_replaced_is_of_the_whole_document() -> None:
    assert read_json(b'{"x":NaN,"x":1}') == ({"x": 1}, "not valid JSON: NaN is no number in JSON", "", ())


def peak_of(raw: bytes) -> int:
    """The bytes of memory that it takes to read this."""
    tracemalloc.start()
    try:
        read_json(raw)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("last", ["NaN", r'"\ud83d"'])
def test_long_name_above_many_values_is_not_copied_for_each(last: str) -> None:
    small, large = (f'{{"{"K" * size}":[{"0," * 2000}{last}]}}'.encode() for size in (20, 20_000))
    assert peak_of(large) < peak_of(small) + 20 * len(large)


def test_long_names_inside_each_other_are_not_copied_for_each_name_that_stands_twice() -> None:
    raw = ('{"a":1,"a":2,"%s":' % ("K" * 5000)) * 100 + "0" + "}" * 100
    assert peak_of(raw.encode()) < 10 * len(raw)


def test_many_names_of_which_the_last_stands_twice_are_read_in_one_pass() -> None:
    names = [*range(100_000), 99_999]
    raw = "{" + ",".join(f'"{name}":0' for name in names) + "}"
    started = time.process_time()

    assert read_json(raw.encode()).repeated == ("/99999",)
    assert time.process_time() - started < 5  # minutes, when each name is compared with each other one


def exchange(body: str, *, asked: Any = 5, status: int = 200, kind: str = "application/json") -> Exchange:
    request = json.dumps({"jsonrpc": "2.0", "id": asked, "method": "ping"}).encode()
    headers = [(b"Content-Type", kind.encode())]
    return Exchange("POST", "http://agent.example/", [], request, status, headers, bytearray(body.encode()))


GOOD = [
    '{"jsonrpc":"2.0","id":5,"result":{}}',
    '{"jsonrpc":"2.0","id":5,"result":null}',
    '{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"no"}}',
    '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}',
    '{"jsonrpc":"2.0","error":{"code":-32600,"message":"no"}}',
    '{"jsonrpc":"2.0","id":5,"result":{"a":1,"a":2}}',  # allowed, although nobody knows what it means
]
BAD = [
    ('{"jsonrpc":"2.0","id":5,"result":{},"error":null}', "/error", "both a result and an error"),
    ('{"jsonrpc":"2.0","id":5,"result":null,"error":{"code":1,"message":""}}', "/error", "both"),
    ('{"jsonrpc":"2.0","id":"5","result":{}}', "/id", 'its id is "5" and not 5'),
    ('{"jsonrpc":"2.0","id":5.0,"result":{}}', "/id", "its id is 5.0"),
    ('{"jsonrpc":"2.0","id":6,"result":{}}', "/id", "its id is 6"),
    ('{"jsonrpc":"2.0","id":true,"result":{}}', "/id", "its id is true"),
    ('{"jsonrpc":"2.0","id":null,"result":{}}', "/id", "its id is null"),
    ('{"jsonrpc":"2.0","result":{}}', "", "it has no id"),
    ('{"jsonrpc":"2.0","id":6,"error":{"code":1,"message":""}}', "/id", "its id is 6"),
    ('{"jsonrpc":"2.0","id":5,"error":null}', "/error", "not an object"),
    ('{"jsonrpc":"2.0","id":5,"error":"no"}', "/error", "not an object"),
    ('{"jsonrpc":"2.0","id":5,"error":{"code":"E1","message":"no"}}', "/error/code", "whole number"),
    ('{"jsonrpc":"2.0","id":5,"error":{"message":"no"}}', "/error/code", "whole number"),
    ('{"jsonrpc":"2.0","id":5,"error":{"code":1}}', "/error/message", "without a message"),
    ('{"jsonrpc":"2.0","id":5,"result":{},"id":5}', "/id", "/id twice"),
    ('{"jsonrpc":"2.0","id":5,"result":{"x":[1,NaN]}}', "/result/x/1", "NaN"),
    ('{"jsonrpc":"2.0","id":5,"result":{"a/b":"\\ud83d"}}', "/result/a~1b", "half a surrogate"),
    ('{"jsonrpc":"2.0","id":5,"result":{"x":NaN,"x":1}}', "", "NaN"),
    ('{"jsonrpc":"2.0","id":5,"x":1,"x":2,"result":{},"result":{}}', "/result", "/result twice"),
    ('{"jsonrpc":"2.0","id":5,"result":[' + '{"a":1,"a":2},' * 200 + '0],"id":5}', "/id", "/id twice"),
    ('\ufeff{"jsonrpc":"2.0","id":5,"result":{}}', "", "byte order mark"),
    ('{"jsonrpc":"1.0","id":5,"result":{}}', "", "not a JSON-RPC 2.0 answer"),
    ('[{"jsonrpc":"2.0","id":5,"result":{}}]', "", "not a JSON-RPC 2.0 answer"),
]


@pytest.mark.parametrize("body", GOOD)
def test_answer_in_good_order_is_read(body: str) -> None:
    message, problem = message_of(exchange(body))
    assert (message is not None, problem) == (True, "")


@pytest.mark.parametrize(("body", "place", "words"), BAD)
def test_answer_that_breaks_a_rule_is_refused_with_the_true_reason(body: str, place: str, words: str) -> None:
    seen = exchange(body)

    assert message_of(seen)[0] is None
    assert words in message_of(seen)[1]
    assert read_message(seen).at == f"/response/body{place}"


@pytest.mark.parametrize(("body", "place", "words"), BAD[:20])  # the others are no answers, or allowed in a stream
def test_it_is_refused_in_an_event_stream_too(body: str, place: str, words: str) -> None:
    notification = '{"jsonrpc":"2.0","method":"notifications/x"}'
    seen = exchange(f"event: message\ndata: {notification}\n\ndata: {body}\n\n", kind="text/event-stream")

    assert words in message_of(seen)[1]
    assert read_message(seen).at == f"/response/body{place}"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_result_with_the_status_of_an_error_is_no_answer(status: int, kind: str) -> None:
    body = '{"jsonrpc":"2.0","id":5,"result":{}}'
    seen = exchange(f"data: {body}\n\n" if "stream" in kind else body, status=status, kind=kind)

    assert message_of(seen) == (None, f"a result with the error status {status}")
    assert read_message(seen).at == "/response/status"


@pytest.mark.parametrize("status", [400, 404, 500])
def test_error_with_the_status_of_an_error_is_an_answer(status: int) -> None:
    assert message_of(exchange(GOOD[2], status=status))[1] == ""


@pytest.mark.parametrize(
    "first",
    [
        '{"jsonrpc":"2.0","id":5,"result":{"x":NaN}}',
        '{"jsonrpc":"2.0","id":5,"result":{},"error":null}',
        '{"jsonrpc":"2.0","id":5,"error":{"code":"E1","message":"no"}}',
        '{"jsonrpc":"2.0","id":5,"result":{},"result":{}}',
    ],
)
def test_first_answer_in_a_stream_counts(first: str) -> None:
    good = '{"jsonrpc":"2.0","id":5,"result":{}}'
    seen = exchange(f"data: {first}\n\ndata: {good}\n\n", kind="text/event-stream")
    assert message_of(seen)[0] is None


def test_refusal_before_the_request_was_read_may_have_an_identifier_of_its_own() -> None:
    body = '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}'
    assert message_of(exchange(body, status=400))[1] == ""
    assert "does not belong" in message_of(exchange(body))[1]


def test_answer_to_another_request_in_a_stream_is_passed_over() -> None:
    other, own = (json.dumps({"jsonrpc": "2.0", "id": n, "result": {"n": n}}) for n in (4, 5))
    message, _ = message_of(exchange(f"data: {other}\r\n\r\ndata: {own}\r\n\r\n", kind="text/event-stream"))
    assert message is not None
    assert message["result"] == {"n": 5}


_EVENTS = st.lists(
    st.sampled_from([": still here", "event: message", "data: {}", "id: 1", "data: [1,", "data: 2]", ""])
)


@given(_EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40))
def test_answer_is_seen_in_a_stream_as_soon_as_it_is_there(before: list[str], end: str, size: int) -> None:
    own = '{"jsonrpc":"2.0","id":5,"result":{}}'
    noise = end.join([*before, "", ""])
    raw = (f"{noise}{end}data: {own}{end}{end}").encode()
    seen = exchange("", kind="text/event-stream")
    answer, there = AnswerInStream(seen), []
    for start in range(0, len(raw), size):
        seen.body += raw[start : start + size]
        there.append(answer.is_there())

    assert there[-1]
    assert not any(there[:-2])  # the last mark may come in two pieces


def test_stream_that_is_still_read_is_read_again() -> None:
    seen = exchange("data: {", kind="text/event-stream")
    assert message_of(seen)[0] is None
    seen.body += b'"jsonrpc":"2.0","id":5,"result":{}}\n\n'
    assert message_of(seen)[0] is not None


@given(st.lists(_TEXT, max_size=4))
def test_pointers_lead_where_they_point(path: list[str]) -> None:
    value: Any = None
    for part in reversed(path):
        value = {part: value}
    assert reached(value, pointer(path)) == pointer(path)
