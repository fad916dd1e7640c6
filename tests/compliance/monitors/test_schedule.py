"""When a schedule's times are: intervals, cron, and clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.monitors.schedule import BadSchedule, Schedule, first_times

ANCHOR = datetime(2026, 3, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29, tzinfo=BERLIN)  # 02:00 to 03:00 is not there
AUTUMN = datetime(2026, 10, 25, tzinfo=BERLIN)  # 02:00 to 03:00 comes twice


def cron(expression: str, timezone: str = "Europe/Berlin") -> Schedule:
    return Schedule(timezone, ANCHOR, cron=expression)


def every(minutes: int) -> Schedule:
    return Schedule("UTC", ANCHOR, interval_minutes=minutes)


def on_day(schedule: Schedule, day: datetime) -> list[str]:
    """The wall-clock times of a day on which the schedule comes, with the offset from UTC."""
    times, moment = [], (day - timedelta(seconds=1)).astimezone(UTC)
    while True:
        moment = schedule.next_after(moment)
        local = moment.astimezone(BERLIN)
        if local.date() != day.date():
            return times
        times.append(f"{local:%H:%M%z}"[:-2])


@pytest.mark.parametrize(
    ("expression", "spring", "autumn"),
    [
        ("30 2 * * *", ["03:00+02"], ["02:30+02"]),
        ("*/30 2 * * *", ["03:00+02"], ["02:00+02", "02:30+02"]),
        ("0 2,3 * * *", ["03:00+02"], ["02:00+02", "03:00+01"]),
        (
            "0 */12 * * *",
            ["00:00+01", "12:00+02"],
            ["00:00+02", "12:00+01"],
        ),
        ("0 */2 1-31 * 7", [], []),
    ],
)
def test_what_comes_once_a_day_comes_once_when_clocks_change(
    expression: str, spring: list[str], autumn: list[str]
) -> None:  # L19
    if not spring:
        # Twelve times; the hour that is not there moves, and the one that is there twice comes once.
        assert len(on_day(cron(expression), SPRING)) == len(on_day(cron(expression), AUTUMN)) == 12
        return
    assert on_day(cron(expression), SPRING) == spring
    assert on_day(cron(expression), AUTUMN) == autumn


@pytest.mark.parametrize("expression", ["15 * * * *", "15 */1 * * *", "15 0-23 * * *"])
def test_what_comes_each_hour_comes_in_each_hour_that_there_is(expression: str) -> None:  # L19
    assert len(on_day(cron(expression), SPRING)) == 23
    assert len(on_day(cron(expression), AUTUMN)) == 25


def test_in_the_hour_that_a_clock_repeats_nothing_comes_from_the_past() -> None:  # L19
    repeated = (AUTUMN.replace(hour=2, minute=15, fold=1)).astimezone(UTC)
    assert cron("30 2 * * *").next_after(repeated).astimezone(BERLIN).day == AUTUMN.day + 1


@pytest.mark.parametrize(("day", "count"), [(SPRING, 23), (AUTUMN, 25)])
def test_an_interval_comes_by_the_hours_that_there_are(day: datetime, count: int) -> None:  # L19
    """A day with a change of clocks is an hour shorter or longer; an interval neither doubles nor skips."""
    hourly = Schedule("Europe/Berlin", ANCHOR, interval_minutes=60)
    moments = [(day - timedelta(seconds=1)).astimezone(UTC)]
    for _ in range(count + 1):
        moments.append(hourly.next_after(moments[-1]))
    assert {later - earlier for earlier, later in pairwise(moments[1:])} == {timedelta(hours=1)}
    assert len(on_day(hourly, day)) == count


@given(
    st.sampled_from(["30 2 * * *", "30 1,2 * * *", "*/20 2 * * *", "45 * * * *", "0 */2 * * *", "0 0 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_the_next_time_is_later_and_nothing_lies_between(expression: str, timezone: str, after: datetime) -> None:
    """From wherever one asks, the same times: asked in the middle of an hour that a clock repeats too."""  # L19
    schedule = cron(expression, timezone)
    first = schedule.next_after(after)
    assert first > after
    assert schedule.next_after(first - timedelta(seconds=1)) == first
    halfway = after + (first - after) / 2
    assert schedule.next_after(halfway) == first


@given(st.integers(1, 50_000), st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_an_interval_counts_from_its_anchor(minutes: int, after: datetime) -> None:
    first = every(minutes).next_after(after)
    assert first > after
    assert (first - ANCHOR) % timedelta(minutes=minutes) == timedelta(0)
    assert first - max(after, ANCHOR) <= timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        (cron("99 * * * *"), "is no cron expression: bad minute"),
        (cron("0 0 31 4 *"), "is no cron expression: bad day-of-month"),
        (cron("* * * * * *"), "has five fields"),
        (cron("daily"), "has five fields"),
        (cron("0 0 29 2 1#5 x"), "has five fields"),
        (cron("0 9 * * *", "Europe/Atlantis"), "no timezone “Europe/Atlantis”"),
        (cron("0 9 * * *", "Europe"), "no timezone"),
        (cron("0 9 * * *", "../../etc/passwd"), "no timezone"),
        (cron("*/4 * * * *"), "less than 5 minutes apart"),
        (cron("59 23,0 * * *"), ""),
        (cron("0,59 * * * *"), "less than 5 minutes apart"),
        (every(4), "must be 5 to 10080 minutes"),
        (every(10_081), "must be 5 to 10080 minutes"),
        (Schedule("UTC", ANCHOR), "either an interval or a cron expression"),
        (Schedule("UTC", ANCHOR, 60, "0 9 * * *"), "either an interval or a cron expression"),
    ],
)
def test_a_schedule_that_may_not_be_kept_is_refused_with_the_reason(schedule: Schedule, why: str) -> None:
    def ask() -> list[datetime]:
        return first_times(schedule, ANCHOR, at_least_minutes=5, at_most_minutes=10_080)

    if not why:
        assert len(ask()) == 5
        return
    with pytest.raises(BadSchedule, match=why):
        ask()


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (every(1), "Every minute"),
        (every(90), "Every 90 minutes"),
        (every(60), "Every hour"),
        (every(120), "Every 2 hours"),
        (every(24 * 60), "Every day"),
        (every(14 * 24 * 60), "Every 2 weeks"),
        (cron("0 9 * * 1-5"), "At 09:00 on Monday through Friday, Europe/Berlin"),
        # Two restrictions of days are a union, unless one begins with a star.
        (cron("0 9 1,15 * 2"), "At 09:00 on the first and the 15th day of month or on Tuesday, Europe/Berlin"),
        (cron("0 9 1 1 2"), "At 09:00 on the first day of month or on Tuesday in January, Europe/Berlin"),
        (cron("0 9 */2 * 2"), "At 09:00 on every second day of month if it's on Tuesday, Europe/Berlin"),
        (cron("0 9 1-31 * 2"), "At 09:00 every day, Europe/Berlin"),
        (cron("0 9 13 * 0-6"), "At 09:00 every day, Europe/Berlin"),
        (cron("0 9 13 6 1-7"), "At 09:00 every day in June, Europe/Berlin"),
    ],
)
def test_a_schedule_says_in_words_when_it_comes(schedule: Schedule, words: str) -> None:
    assert schedule.in_words() == words
