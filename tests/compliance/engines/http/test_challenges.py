"""What a locked agent says of the credentials that it wants is understood in every form that is met (E4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.engines.http.challenges import Challenge, challenges, named_metadata
from compliance.engines.http.exchange import Exchange

_METADATA = "https://a.example/.well-known/oauth-protected-resource"
_TOKENS = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)


def answered(*lines: str) -> Exchange:
    headers = [(b"WWW-Authenticate", line.encode("latin-1")) for line in lines]
    return Exchange("POST", "https://a.example/mcp", [], b"", 401, headers)


@pytest.mark.parametrize(
    "lines",
    [
        [f'Bearer resource_metadata="{_METADATA}"'],
        [f'bearer Resource_Metadata = "{_METADATA}"'],
        [f"BEARER resource_metadata={_METADATA}"],
        [f'Bearer realm="mcp", resource_metadata="{_METADATA}"'],
        [f'Bearer realm="mcp",resource_metadata="{_METADATA}",error="invalid_token"'],
        ['Basic realm="x"', f'Bearer resource_metadata="{_METADATA}"'],
        [f'Basic realm="x", Bearer resource_metadata="{_METADATA}"'],
        [f'Bearer error="insufficient_scope", scope="a b", resource_metadata="{_METADATA}"'],
        [f'Negotiate abc==, Bearer  resource_metadata = "{_METADATA}"'],
        [f', ,Bearer realm="a, b=\\"c\\"" ,\tresource_metadata="{_METADATA}"'],
        [f'Bearer realm="mcp" resource_metadata="{_METADATA}"'],  # without the comma
    ],
    ids=lambda lines: " | ".join(lines)[:40],
)
def test_metadata_is_found(lines: list[str]) -> None:
    assert named_metadata(answered(*lines)) == _METADATA


def test_schemes_and_parameters_are_told_apart() -> None:
    found = challenges(answered('Basic realm="a \\"b\\""', 'Digest qop="auth", nonce=1, Bearer', "Negotiate YWJj=="))
    assert found == [
        Challenge("Basic", {"realm": 'a "b"'}),
        Challenge("Digest", {"qop": "auth", "nonce": "1"}),
        Challenge("Bearer"),
        Challenge("Negotiate"),
    ]


@given(
    st.lists(
        st.tuples(_TOKENS, st.dictionaries(_TOKENS.map(str.lower), st.text("abc ,=", max_size=6), max_size=3)),
        max_size=4,
    ),
    st.booleans(),
    st.sampled_from(["=", " = ", "= "]),
)
def test_every_list_of_challenges_is_read_back(
    wanted: list[tuple[str, dict[str, str]]], one_line: bool, equals: str
) -> None:
    lines = [
        f"{scheme} " + ", ".join(f'{name.title()}{equals}"{value}"' for name, value in parameters.items())
        for scheme, parameters in wanted
    ]
    seen = challenges(answered(", ".join(lines)) if one_line else answered(*lines))
    assert [(each.scheme, each.parameters) for each in seen] == wanted


@pytest.mark.parametrize("line", ["", "   ", ",,", '"', "=", '="x"', "a=b", 'Bearer realm="open'])
def test_nonsense_names_nothing(line: str) -> None:
    assert named_metadata(answered(line)) == ""


@pytest.mark.parametrize(("status", "locked"), [(401, True), (402, True), (403, True), (404, False), (200, False)])
def test_which_answers_are_locked_doors(status: int, locked: bool) -> None:
    exchange = answered()
    exchange.status = status
    assert exchange.is_locked is locked
