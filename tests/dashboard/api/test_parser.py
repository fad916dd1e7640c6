"""What is read of a body that is nested too deeply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.api.parser import LEVELS, cut_below_levels

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_not_deep_is_left_as_it_is(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert cut_below_levels(text) == text


@given(VALUES, st.integers(LEVELS, LEVELS + 3), VALUES)
def test_what_stands_beside_the_depth_is_read(before: Any, levels: int, after: Any) -> None:
    deep = "[" * levels + '"]}{"' + "]" * levels
    read = json.loads(cut_below_levels(f'{{"a": {json.dumps(before)}, "deep": {deep}, "b": {json.dumps(after)}}}'))
    assert (read["a"], read["b"]) == (before, after)
    inner, count = read["deep"], 0
    while isinstance(inner, list):
        [inner], count = inner, count + 1
    assert (inner, count) == ("…", LEVELS - 1)


@pytest.mark.parametrize("text", ["[" * 900, "[" * 900 + "]" * 400, "]" * 900, '["' * 500, '"' + "\\" * 999])
def test_what_is_no_json_does_not_become_any(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever of the two says so
        json.loads(cut_below_levels(text))
