"""How host names are shown to people, and which are better not shown in Unicode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.registry.unicode_hosts import in_unicode, is_found_by, readable
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url


@pytest.mark.parametrize(
    "address",
    [
        "https://bücher.example/mcp",
        "https://пример.example/a/b?c=d",
        "https://日本語テスト.example:8443/mcp",
        "https://한국어.example/",
        "https://παράδειγμα.example/",
        "https://कंपनी.example/",
        "https://مثال.example/",
        "https://api.bücher.example/xn--mcp",
        "https://agent.example/xn--bcher-kva",
    ],
)
def test_a_host_of_one_script_is_shown_in_unicode(address: str) -> None:
    assert readable(normalize_agent_url(address)) == address


@pytest.mark.parametrize(
    "address",
    [
        "https://pаypal.example/mcp",  # a Cyrillic letter among Latin ones
        "https://аррӏе.example/mcp",  # Cyrillic letters that all look Latin
        "https://ехамрӏе.example/".replace("м", "о"),
        "https://αρχ.example/",
        "https://gοοgle.example/mcp",  # two Greek letters
        "https://日本agent.example/",
    ],
)
def test_a_host_that_can_pass_for_another_is_shown_as_it_is(address: str) -> None:
    exact = normalize_agent_url(address)
    assert "xn--" in exact
    assert readable(exact) == exact
    assert in_unicode(exact) == address  # and is found by it all the same


def test_only_the_label_that_can_mislead_stays() -> None:
    exact = normalize_agent_url("https://pаypal.bücher.example/")
    assert readable(exact) == f"https://{exact.split('/')[2].split('.')[0]}.bücher.example/"


@pytest.mark.parametrize("address", ["https://xn--a.example/", "https://xn--zzzzzz--.example/", "https://a.xn--/"])
def test_a_label_that_is_none_stays_as_it_is(address: str) -> None:
    assert readable(address) == in_unicode(address) == address


@pytest.mark.parametrize("text", ["bücher", "BÜCHER", "bu\u0308cher", "üch", "ücher.example/m"])
def test_letters_are_found_in_any_case_and_composition(text: str) -> None:
    assert is_found_by(text, "https://xn--bcher-kva.example/mcp")
    assert not is_found_by(text, "https://bucher.example/mcp")


@given(st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=12))
def test_what_is_shown_names_the_same_agent(label: str) -> None:
    try:
        exact = normalize_agent_url(f"https://{label}.example/mcp")
    except InvalidAgentURL:
        return
    assert normalize_agent_url(readable(exact)) == exact
