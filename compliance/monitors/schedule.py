"""When a monitor is due: every so many minutes, or by a cron expression in a timezone. Touches no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

CRON_FIELDS = 5
DAY_MINUTES = 24 * 60
_UNITS = ((7 * DAY_MINUTES, "week"), (DAY_MINUTES, "day"), (60, "hour"), (1, "minute"))


class BadSchedule(ValueError):
    """No time follows from the schedule; the message says why, for the person who wrote it.

    part: which of its fields is wrong in itself; "" when it is how they go together.
    """

    def __init__(self, message: str, *, part: str = "") -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Schedule:
    """An interval counted from an anchor, or a cron expression in a timezone. Exactly one of the two."""

    timezone: str
    anchor: datetime  # where an interval begins to count; its first occurrence is one interval later
    interval_minutes: int | None = None
    cron: str = ""

    def next_after(self, after: datetime) -> datetime:
        """The first occurrence later than `after`, in UTC. Raises BadSchedule when there is none."""
        if self.interval_minutes is not None:
            interval = timedelta(minutes=self.interval_minutes)
            passed = max((after - self.anchor) // interval, 0)
            return (self.anchor + (passed + 1) * interval).astimezone(UTC)
        zone = _zone(self.timezone)
        try:
            for local in _simulated(_by_the_clock(self.cron), after.astimezone(zone)):
                # In the hour that a clock repeats, wall-clock times lie before instants that they seem to follow.
                moment = local.astimezone(UTC)
                if moment > after:
                    return moment
        except OverflowError:
            pass
        raise BadSchedule(f"“{self.cron}” never comes.", part="cron")

    def next_times(self, after: datetime, count: int = 5) -> list[datetime]:
        """The next occurrences, in UTC. Raises BadSchedule when there are none."""
        times = [self.next_after(after)]
        while len(times) < count:
            times.append(self.next_after(times[-1]))
        return times

    def shortest_gap_minutes(self) -> int:
        """How close two occurrences can come, as far as the pattern of a day tells. Raises BadSchedule."""
        if self.interval_minutes is not None:
            return self.interval_minutes
        simulated = _simulated(self.cron, datetime(2026, 1, 1, tzinfo=UTC))
        times = sorted(60 * hour + minute for hour in simulated.hours for minute in simulated.minutes)
        gaps = (later - earlier for earlier, later in zip(times, [*times[1:], times[0] + DAY_MINUTES], strict=True))
        return min(gaps)

    def in_words(self) -> str:
        """Such as “Every 2 hours”, or “At 09:00 every day, Europe/Berlin”."""
        if self.interval_minutes is not None:
            return _every(self.interval_minutes)
        try:
            words = _cron_in_words(self.cron)
        except BadSchedule:
            words = f"“{self.cron}”"
        return f"{words}, {self.timezone}"


def _cron_in_words(cron: str) -> str:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    simulated = _simulated(cron, start)
    minute, hour, days, month, weekdays = cron.split()
    if days.startswith("*") or weekdays.startswith("*"):
        return simulated.explain()
    # Two restrictions of days: cron comes on the days of either.
    every_weekday = {day % 7 for day in simulated.weekdays if isinstance(day, int)} == set(range(7))
    if every_weekday or simulated.days == set(range(1, 32)):
        return CronSim(f"{minute} {hour} * {month} *", start).explain()
    return simulated.explain().replace(" and on ", " or on ", 1)


def _every(minutes: int) -> str:
    size, unit = next((size, unit) for size, unit in _UNITS if minutes % size == 0)
    count = minutes // size
    return f"Every {unit}" if count == 1 else f"Every {count} {unit}s"


def _zone(name: str) -> ZoneInfo:
    # By the list first: ZoneInfo also opens names that are folders, and answers with whatever the system says.
    if not is_timezone(name):
        raise BadSchedule(f"There is no timezone “{name}”.", part="timezone")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_timezone(name: str) -> bool:
    return name in _zones()


def timezone_names() -> list[str]:
    """The timezones that a schedule can name, such as Europe/Berlin."""
    return ["UTC", *sorted(name for name in _zones() if "/" in name and not name.startswith("Etc/"))]


def _simulated(cron: str, after: datetime) -> CronSim:
    # cronsim takes a sixth field, for seconds; nothing here is due by the second.
    if len(cron.split()) != CRON_FIELDS:
        raise BadSchedule(
            "A cron expression has five fields: minute, hour, day of the month, month, day of the week.", part="cron"
        )
    try:
        return CronSim(cron, after)
    except CronSimError as error:
        raise BadSchedule(f"“{cron}” is no cron expression: {str(error).lower()}.", part="cron") from None


@lru_cache(maxsize=4096)
def _by_the_clock(cron: str) -> str:
    """The same expression, written so that cronsim keeps to it when clocks change.

    As Debian's cron does, cronsim lets fields that begin with a star skip the hour that a clock skips, and come
    again in the hour that it repeats. That is right for what happens each hour, and for nothing else.
    """
    minute, hour, *rest = cron.split()
    if len(_simulated(cron, datetime(2026, 1, 1, tzinfo=UTC)).hours) == len(range(24)):
        hour = "*"
    else:
        minute, hour = minute.replace("*", "0-59"), hour.replace("*", "0-23")
    return " ".join([minute, hour, *rest])


def first_times(schedule: Schedule, after: datetime, *, at_least_minutes: int, at_most_minutes: int) -> list[datetime]:
    """The next five times of a schedule that may be kept. Raises BadSchedule for one that may not."""
    if (schedule.interval_minutes is None) == (not schedule.cron):
        raise BadSchedule("Choose either an interval or a cron expression.")
    if schedule.interval_minutes is not None and not at_least_minutes <= schedule.interval_minutes <= at_most_minutes:
        raise BadSchedule(
            f"The interval must be {at_least_minutes} to {at_most_minutes} minutes.", part="interval_minutes"
        )
    _zone(schedule.timezone)
    if schedule.shortest_gap_minutes() < at_least_minutes:
        raise BadSchedule(
            f"Two times of “{schedule.cron}” are less than {at_least_minutes} minutes apart.", part="cron"
        )
    return schedule.next_times(after)
