"""What the template tags write: badges, times and strips."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template
from django.utils import timezone

MOMENT = datetime(2026, 11, 23, 8, 5, tzinfo=UTC)


def rendered(text: str, **context: object) -> str:
    return Template("{% load assay %}" + text).render(Context(context))


@pytest.mark.parametrize(
    "tag",
    ["{% badge 'passing' %}", "{% instant moment %}", "{% due moment %}", "{% lasting moment %}", "{% instant none %}"],
)
def test_punctuation_stands_beside_the_tag_that_it_follows(tag: str) -> None:
    text = rendered(f"({tag}).", moment=MOMENT, none=None)
    assert text == f"({text.strip('().').strip()})."


def test_a_time_is_in_utc_and_exact_for_programs() -> None:
    text = rendered("{% instant moment exact=True %}", moment=MOMENT.astimezone(timezone.get_fixed_timezone(120)))
    assert 'datetime="2026-11-23T08:05:00Z"' in text
    assert "data-exact" in text
    assert ">2026-11-23 08:05 UTC</time>" in text


def test_what_is_to_come_is_named_so_until_it_is_due() -> None:
    ahead, behind = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
    assert ">next " in rendered("{% due moment 'next ' %}", moment=ahead)
    assert ">due since " in rendered("{% due moment 'next ' %}", moment=behind)
    assert rendered("{% due moment %}", moment=None) == "never"


def test_a_tally_leaves_out_what_did_not_occur() -> None:
    text = rendered("{% tally counts %}", counts={"passed": 3, "failed": 0, "skipped": 1})
    assert "3 passed" in text
    assert "1 skipped" in text
    assert "failed" not in text


def test_a_strip_of_nothing_leaves_its_cell_empty() -> None:
    assert rendered("{% strip verdicts %}", verdicts=[]) == ""
