"""Names hide nothing and turn nothing around."""

from __future__ import annotations

import pytest

from compliance.tenancy.names import plain_name


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  City  library ", "City library"),
        ("Two\nlines\r\nand\ttab", "Two lines and tab"),
        ("turned \u202eyrarbil", "turned yrarbil"),
        ("hid\u200bden\ufeff", "hidden"),
        ("nul\x00", "nul"),
        ("\u202e\u200b", ""),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("Bücherei & Söhne <b>", "Bücherei & Söhne <b>"),
    ],
)
def test_a_name_is_one_line_of_visible_text(typed: str, kept: str) -> None:
    assert plain_name(typed) == kept
