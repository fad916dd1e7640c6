"""The order and the ends of waiting, by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.web.asking import ask, never_telling_keys, preferred_wait, short_body_length
from compliance.web.room import ASKED_MOST, Waiter, WaitingRoom

pytestmark = pytest.mark.processes


def waiter(*keys: str, asked_at: float = 0, deadline: float = 100) -> Waiter:
    return Waiter(keys, asked_at=asked_at, deadline=deadline)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=50", 50),
        ("respond-async, wait=10", 10),
        ('WAIT = "7"; why=so', 7),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait", 0),
        ("await=5", 0),
        ("", 0),
    ],
)
def test_how_long_a_client_would_wait(value: str, seconds: int) -> None:
    assert preferred_wait([("HOST", "localhost"), ("PREFER", value)]) == seconds


def test_who_does_not_say_does_not_wait() -> None:
    assert preferred_wait([("HOST", "localhost")]) == 0


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([("CONTENT-LENGTH", "65536")], 65536),
        ([("CONTENT-LENGTH", "65537")], None),
        ([("CONTENT-LENGTH", "many")], None),
        ([("TRANSFER-ENCODING", "chunked")], None),
    ],
)
def test_only_short_bodies_are_kept(headers: list[tuple[str, str]], length: int | None) -> None:
    assert short_body_length(headers) == length


def test_an_answer_without_keys_is_given_as_it_is_and_one_with_keys_without_them() -> None:
    def application(environ, start_response):
        start_response("200 OK", environ["headers"])
        return [b"a", b"b"]

    plain = [("Content-Type", "text/plain"), ("Content-Length", "2")]
    keyed = [("Assay-Wait-For", "runner:1, pool:2:x y"), *plain, ("assay-wait-for", "runner:3")]
    assert ask(application, {"headers": plain}, b"").keys == ()
    answer = ask(application, {"headers": keyed}, b"")
    assert answer.keys == ("runner:1", "pool:2:x y", "runner:3")
    assert answer.headers == plain
    assert answer.body == b"ab"
    told = []
    never_telling_keys(application)({"headers": keyed}, lambda status, headers, error=None: told.extend(headers))
    assert told == plain


def test_work_that_came_between_question_and_waiting_is_asked_for_again() -> None:
    room: WaitingRoom[Waiter] = WaitingRoom()
    assert room.wake("runner:1", now=5) is None
    late, early = waiter("runner:1", asked_at=6), waiter("runner:1", asked_at=4)
    assert room.enter(late), "what was notified before the question was in its answer"
    assert not room.enter(early)
    assert early.round is not None
    assert len(room) == 1


def test_a_waiter_is_asked_once_for_one_notification() -> None:
    room: WaitingRoom[Waiter] = WaitingRoom()
    waiters = [waiter("pool:1") for _ in range(3)]
    for one in waiters:
        room.enter(one)
    called = room.wake("pool:1", now=1)
    order = []
    while called is not None:
        order.append(called)
        assert called.round is not None
        round_ = called.round
        called.asked_at = 2
        room.enter(called)
        called = room.next_of(round_)
    assert order == waiters


def test_one_notification_asks_a_bounded_number_and_the_next_goes_on_with_others() -> None:
    room: WaitingRoom[Waiter] = WaitingRoom()
    waiters = [waiter("pool:1") for _ in range(ASKED_MOST + 3)]
    for one in waiters:
        room.enter(one)

    def whole_round(now: float) -> list[Waiter]:
        called, order = room.wake("pool:1", now=now), []
        while called is not None:
            order.append(called)
            round_ = called.round
            called.asked_at = now
            room.enter(called)
            assert round_ is not None
            assert room.has_next(round_) == (len(order) < ASKED_MOST)
            called = room.next_of(round_)
        return order

    assert whole_round(1) == waiters[:ASKED_MOST]
    assert whole_round(2)[:3] == waiters[ASKED_MOST:]


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 7), st.integers(1, 20)),
            st.tuples(st.just("leave"), st.integers(0, 7), st.just(0)),
            st.tuples(st.just("wake"), st.integers(0, 2), st.just(0)),
            st.tuples(st.just("pass"), st.integers(1, 5), st.just(0)),
        ),
        max_size=60,
    )
)
def test_everybody_who_enters_comes_out_exactly_once(steps: list[tuple[str, int, int]]) -> None:
    room: WaitingRoom[Waiter] = WaitingRoom()
    now = 0.0
    inside: list[Waiter] = []
    for number, (step, which, seconds) in enumerate(steps):
        if step == "enter":
            one = waiter(f"key:{which % 3}", f"own:{number}", asked_at=now, deadline=now + seconds)
            if room.enter(one):
                inside.append(one)
        elif step == "leave" and inside:
            one = inside.pop(which % len(inside))
            assert room.leave(one)
            assert not room.leave(one)
        elif step == "wake":
            first = next((one for one in inside if f"key:{which}" in one.keys), None)
            assert room.wake(f"key:{which}", now=now) is first
            if first is not None:
                inside.remove(first)
        elif step == "pass":
            now += which
            over = room.expired(now)
            assert sorted(map(id, over)) == sorted(id(one) for one in inside if one.deadline <= now)
            inside = [one for one in inside if one.deadline > now]
            earliest = min((one.deadline for one in inside), default=None)
            upcoming = room.next_deadline()
            assert (earliest is None) or (upcoming is not None and upcoming <= earliest)
        assert len(room) == len(inside)
    assert room.everybody() == inside
    assert len(room) == 0
