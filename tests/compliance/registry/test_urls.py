"""The one spelling of an agent's address, and what is refused with which words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.registry.urls import MAX_LENGTH, InvalidAgentURL, normalize_agent_url, refuse_credentials


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("https://agent.example", "https://agent.example/"),
        ("  https://agent.example/mcp \n", "https://agent.example/mcp"),
        ("HTTPS://Agent.EXAMPLE/Mcp", "https://agent.example/Mcp"),
        ("https://agent.example:443/mcp", "https://agent.example/mcp"),
        ("http://agent.example:80/", "http://agent.example/"),
        ("http://agent.example:443/", "http://agent.example:443/"),
        ("https://agent.example:8443/mcp", "https://agent.example:8443/mcp"),
        ("https://agent.example./mcp", "https://agent.example/mcp"),
        ("https://agent.example/mcp/", "https://agent.example/mcp/"),
        ("https://agent.example/mcp#part", "https://agent.example/mcp"),
        ("https://agent.example/a/./b/../c", "https://agent.example/a/c"),
        ("https://agent.example/../../etc", "https://agent.example/etc"),
        ("https://agent.example/%7euser/%2f", "https://agent.example/~user/%2F"),
        ("https://agent.example/a%20b?q=ü&r=100%", "https://agent.example/a%20b?q=%C3%BC&r=100%25"),
        ("https://bücher.example/mcp", "https://xn--bcher-kva.example/mcp"),
        ("https://BÜCHER.example/mcp", "https://xn--bcher-kva.example/mcp"),
        ("https://xn--bcher-kva.example/mcp", "https://xn--bcher-kva.example/mcp"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("http://my_service.internal/mcp", "http://my_service.internal/mcp"),
        ("http://localhost:9000/mcp", "http://localhost:9000/mcp"),
        ("http://[2001:DB8:0:0::1]:8080/mcp", "http://[2001:db8::1]:8080/mcp"),
        ("http://192.0.2.7/mcp", "http://192.0.2.7/mcp"),
    ],
)
def test_one_agent_has_one_spelling(typed: str, normal: str) -> None:
    assert normalize_agent_url(typed) == normal
    assert normalize_agent_url(normal) == normal


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "Enter the agent's address"),
        ("   ", "Enter the agent's address"),
        ("agent.example/mcp", "must begin with https://"),
        ("ftp://agent.example/", "must begin with https://"),
        ("javascript:alert(1)", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("//agent.example/mcp", "must begin with https://"),
        ("https://", "no host"),
        ("https:///mcp", "no host"),
        ("https://user:secret@agent.example/", "user name and password"),
        ("https://user@agent.example/", "user name and password"),
        ("https://@agent.example/", "user name and password"),
        ("https://agent.example:0/", "Port 0"),
        ("https://agent.example:65536/", "1 to 65535"),
        ("https://agent.example:-1/", "1 to 65535"),
        ("https://agent.example:http/", "1 to 65535"),
        ("https://agent.example:８０/", "1 to 65535"),
        ("https://agent .example/", "space"),
        ("https://agent.example/a b", "space"),
        ("https://agent.example/\x00", "control character"),
        ("https://agent.example/a\nHost: other", "control character"),
        ("https://agent.example\\@other.example/", "\\"),
        ("https://agent.example/<script>", "<"),
        ("https://[::1/", "cannot be read"),
        ("https://[not-an-address]/", "cannot be read"),
        ("https://agent..example/", "not a valid host name"),
        ("https://-agent.example/", "not a valid host name"),
        ("https://" + "a" * 64 + ".example/", "not a valid host name"),
        ("https://2130706433/", "odd spelling"),
        ("https://0x7f.1/", "odd spelling"),
        ("https://127.1/", "odd spelling"),
        ("https://0177.0.0.1/", "odd spelling"),
        ("https://agent.example/" + "a" * 10_000, "at most 2,048"),
        ("https://agent.example/" + "ü" * 1_000, "at most 2,048"),
    ],
)
def test_what_is_no_address_is_refused_with_words_that_help(typed: str, says: str) -> None:
    with pytest.raises(InvalidAgentURL) as refusal:
        normalize_agent_url(typed)
    assert says in str(refusal.value)


@given(st.text(max_size=300) | st.text(max_size=200).map(lambda rest: "https://" + rest))
@settings(deadline=None)
def test_any_text_is_normalized_for_good_or_refused(text: str) -> None:
    try:
        normal = normalize_agent_url(text)
    except InvalidAgentURL:
        return
    assert normalize_agent_url(normal) == normal
    assert normal.isascii()
    assert len(normal) <= MAX_LENGTH


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("key=abc", "key"),
        ("KEY=abc", "KEY"),
        ("sig=abc", "sig"),
        ("token=abc", "token"),
        ("access_token=abc", "access_token"),
        ("api-key=abc", "api-key"),
        ("apiKey=abc", "apiKey"),
        ("X-Api-Key=abc", "X-Api-Key"),
        ("password=abc", "password"),
        ("client_secret=abc", "client_secret"),
        ("auth=abc", "auth"),
        ("jwt=abc", "jwt"),
        ("session_id=abc", "session_id"),
        ("credentials=abc", "credentials"),
        ("lang=en&token=abc", "token"),
        ("lang=en&&token=abc&x=1", "token"),
        ("%74oken=abc", "token"),
        ("api%5Fkey=abc", "api_key"),
        ("to%6Ben=a%26b", "token"),
        ("token=", "token"),
        ("token", "token"),
        ("token=a=b", "token"),
        ("a[token]=abc", "a[token]"),
        ("my+token=abc", "my token"),
    ],
)
def test_a_credential_in_an_address_is_refused_by_its_name(query: str, named: str) -> None:  # V1
    with pytest.raises(InvalidAgentURL, match="Credentials are not kept in addresses") as refusal:
        refuse_credentials(normalize_agent_url(f"https://agent.example/mcp?{query}"))
    assert f"“{named}”" in str(refusal.value)
    assert "abc" not in str(refusal.value)


def test_a_long_name_does_not_make_a_long_refusal() -> None:
    with pytest.raises(InvalidAgentURL) as refusal:
        refuse_credentials("https://agent.example/?" + "a" * 1900 + "token=1")
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "rest",
    [
        "mcp",
        "mcp?",
        "mcp?lang=en&v=2",
        "mcp?keyboard=us",
        "mcp?max_tokens=9",
        "mcp?page_token=2",
        "token/mcp",
        "mcp?q=token",
    ],
)
def test_an_address_without_a_credential_is_not_refused(rest: str) -> None:
    refuse_credentials(normalize_agent_url(f"https://agent.example/{rest}"))  # raises when it refuses
