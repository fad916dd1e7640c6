"""The overview: what it shows, what it costs, whose it is."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.models import Organization, User
from dashboard.common.formatting import iso, utc
from dashboard.templatetags.assay import strip
from tests.conftest import make_context, make_report, make_run
from tests.dashboard.pages import markup

pytestmark = pytest.mark.django_db

FORTY = 40


@pytest.fixture
def page(organization: Organization, alice: User, reader: Any) -> Any:
    client: Client = reader(alice)

    def get(query: str = "", **headers: str) -> str:
        response = client.get(reverse("overview", args=[organization.slug]) + query, headers=headers)
        assert response.status_code == 200
        return markup(response)

    return get


def names(text: str) -> list[str]:
    return re.findall(r'<td><a href="[^"]+">([^<]+)</a>', text)


def address(number: int) -> str:
    return f"https://agent-{number:02d}.northwind.example/mcp"


@pytest.fixture
def forty(organization: Organization) -> None:
    """A page of agents and three more, each with a test."""
    for number in range(FORTY + 3):
        make_context(organization, address(number), name=f"Agent number {number:02d} of the organization")
        verdicts = ["passed", "failed"][: 1 + number % 2]
        make_run(*verdicts, organization=organization, agent_url=address(number))


@pytest.fixture
def history(forty: None, organization: Organization) -> None:
    """Older tests of each of them, many of the first, and heartbeats."""
    now = timezone.now()
    for number in range(FORTY + 3):
        for age in range(1, 2 if number else 32):
            verdicts = ["passed", "failed"][: 1 + (age + number) % 2]
            tested_at = now - timedelta(hours=age)
            make_run(*verdicts, organization=organization, agent_url=address(number), tested_at=tested_at)
        make_run("passed", agent_url=address(number))


def test_an_empty_organization_says_what_to_do(page: Any, organization: Organization) -> None:
    assert reverse("agent_add", args=[organization.slug]) in page()


def test_a_page_of_forty_stays_within_its_budget(
    history: None, organization: Organization, alice: User, reader: Any, queries: Any
) -> None:
    client, overview = reader(alice), reverse("overview", args=[organization.slug])
    client.get(overview)
    with queries() as asked:
        response = client.get(overview)
    assert len(names(markup(response))) == FORTY
    assert len(asked) <= 9, "\n".join(asked)
    assert len(response.content) <= 60 * 1024


def test_the_count_of_queries_does_not_grow_with_the_agents(
    organization: Organization, page: Any, queries: Any
) -> None:
    make_context(organization, "https://one.example/mcp")
    page()
    with queries() as few:
        page("?q=agent&sort=-tested")
    for number in range(10):
        url = f"https://agent-{number}.example/mcp"
        make_context(organization, url, name=f"Agent {number}")
        make_run(organization=organization, agent_url=url)
    with queries() as many:
        page("?q=agent&sort=-tested")
    assert len(many) == len(few)


def test_a_first_visit_loads_little(page: Any, organization: Organization) -> None:
    make_context(organization)
    text = page()
    sizes = {"js": 0, "css": 0}
    for path in re.findall(r'(?:src|href)="/static/([^"]+\.(?:js|css))"', text):
        sizes[path.rsplit(".", 1)[1]] += len(gzip.compress((Path(settings.STATICFILES_DIRS[0]) / path).read_bytes()))
    assert 0 < sizes["js"] <= 60 * 1024
    assert 0 < sizes["css"] <= 40 * 1024


def test_only_ones_own_tests_count(
    organization: Organization, other_organization: Organization, page: Any
) -> None:  # R3, I6
    make_context(organization, name="Shared")
    make_context(other_organization, name="Shared elsewhere")
    make_run("failed", organization=other_organization)
    make_run("failed")
    text = page()
    assert names(text) == ["Shared"]
    assert "v-never" in text
    assert "Shared elsewhere" not in text
    assert '<svg class="strip"' not in text
    assert re.search(r"All <b>1</b>", text)
    assert not re.search(r"Failing <b>", text)


def test_dry_and_inconclusive_runs_are_no_last_test(organization: Organization, page: Any) -> None:  # R4
    make_context(organization)
    make_run("failed", organization=organization, dry_run=True)
    make_run("skipped", organization=organization)
    assert "v-never" in page()


@pytest.fixture
def mixed(organization: Organization) -> None:
    now = timezone.now()
    for name, verdicts, days in (
        ("Amber", ("passed", "failed"), 1),
        ("Brown", ("failed",), 1),
        ("Cyan", ("passed",), 1),
        ("Dusk", ("passed",), 45),
        ("Ecru", None, 0),
    ):
        url = f"https://{name.lower()}.example/mcp"
        make_context(organization, url, name=name)
        if verdicts:
            make_run(*verdicts, organization=organization, agent_url=url, tested_at=now - timedelta(days=days))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Brown", "Amber", "Ecru", "Cyan", "Dusk"]),  # failing first
        ("?status=failing", ["Brown"]),
        ("?status=partial", ["Amber"]),
        ("?status=passing", ["Cyan", "Dusk"]),
        ("?status=never", ["Ecru"]),
        ("?status=stale", ["Dusk"]),
        ("?q=CYAN", ["Cyan"]),
        ("?q=brown.example", ["Brown"]),
        ("?q=%25", []),
        ("?sort=name", ["Amber", "Brown", "Cyan", "Dusk", "Ecru"]),
        ("?sort=-name", ["Ecru", "Dusk", "Cyan", "Brown", "Amber"]),
        ("?sort=tested", ["Dusk", "Amber", "Brown", "Cyan", "Ecru"]),
        ("?sort=total&status=passing", ["Cyan", "Dusk"]),
        ("?status=nonsense&sort=nonsense&page=nonsense", ["Brown", "Amber", "Ecru", "Cyan", "Dusk"]),
        ("?page=999", ["Brown", "Amber", "Ecru", "Cyan", "Dusk"]),
        ("?q=%00", ["Brown", "Amber", "Ecru", "Cyan", "Dusk"]),
    ],
)
def test_searching_narrowing_and_sorting(mixed: None, page: Any, query: str, expected: list[str]) -> None:
    found = names(page(query))
    if "tested" in query:
        assert (found[0], found[-1]) == (expected[0], expected[-1])
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected


def test_a_wrong_filter_value_is_named(mixed: None, page: Any) -> None:
    assert "Last test: Select a valid choice. nonsense is not" in page("?status=nonsense")
    assert "Search: Ensure this value has at most 200" in page("?q=" + "x" * 201)
    assert "field-error" not in page("?status=failing")


def test_a_part_is_answered_to_htmx_and_announces_the_count(mixed: None, page: Any) -> None:
    part = page("?status=passing", **{"HX-Request": "true", "HX-Target": "agents"})
    assert "<html" not in part
    assert 'data-announce="2 agents"' in part
    assert '<input type="hidden" name="status" value="passing" form="search">' in part


def test_pages_follow_each_other_without_losing_anybody(forty: None, page: Any) -> None:  # R5
    found = names(page("?sort=status")) + names(page("?sort=status&page=2"))
    assert len(found) == len(set(found)) == FORTY + 3


def test_the_page_as_it_is_opened_is_the_first_of_the_list(forty: None, page: Any) -> None:
    assert names(page()) == names(page("?page=1")) != sorted(names(page()))


def test_what_people_type_is_text(organization: Organization, page: Any) -> None:
    make_context(organization, name="<script>alert(1)</script>")
    text = page("?q=%3Cscript%3E")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_strip_says_in_words_what_it_draws() -> None:
    drawn = render_to_string("common/_strip.html", strip(["passing"] * 40 + ["partial", "failing"]))
    assert 'aria-label="Last 30 tests: 28 passing, 1 partial, 1 failing; the newest failing"' in drawn
    assert drawn.count("<path") == 3
    assert len(drawn) < 700


def test_headers_lead_to_their_order_and_back(mixed: None, page: Any, organization: Organization) -> None:
    text = page("?q=example&page=1")
    assert 'id="by-name" href="?q=example&amp;sort=name"' in text
    text = page("?sort=name")
    assert '<th aria-sort="ascending" scope="col"><a id="by-name" href="?sort=-name">' in text


def test_the_address_bar_gets_the_page_without_empty_fields(
    mixed: None, organization: Organization, alice: User, reader: Any
) -> None:
    base = reverse("overview", args=[organization.slug])
    headers = {"HX-Request": "true", "HX-Target": "agents"}
    response = reader(alice).get(f"{base}?q=&status=passing&page=", headers=headers)
    assert response["HX-Push-Url"] == f"{base}?status=passing"


@pytest.mark.parametrize("sought", ["bücher", "BÜCH", "xn--bcher-kva"])
def test_an_agent_is_found_by_either_spelling_of_its_host_and_shown_in_unicode(
    organization: Organization, page: Any, sought: str
) -> None:
    make_context(organization, "https://xn--bcher-kva.example/mcp", name="Books")
    make_context(organization, "https://buecher.example/mcp", name="Other")
    text = page(f"?q={sought}")
    assert names(text) == ["Books"]
    assert '<span class="sub" title="https://xn--bcher-kva.example/mcp">https://bücher.example/mcp</span>' in text


def test_an_agents_page_shows_both_spellings_of_its_host(organization: Organization, alice: User, reader: Any) -> None:
    context = make_context(organization, "https://xn--bcher-kva.example/mcp", name="Books")
    text = markup(reader(alice).get(reverse("agent", args=[organization.slug, context.pk])))
    assert "https://bücher.example/mcp" in text
    assert "In ASCII: https://xn--bcher-kva.example/mcp" in text


def test_a_host_that_can_pass_for_another_is_shown_as_it_is(organization: Organization, page: Any) -> None:
    make_context(organization, "https://xn--pypal-4ve.example/mcp", name="Lookalike")
    text = page("?q=pаypal")  # with a Cyrillic letter
    assert names(text) == ["Lookalike"]
    assert ">https://xn--pypal-4ve.example/mcp<" in text


def test_a_test_of_a_part_of_the_suite_is_marked(
    organization: Organization, alice: User, reader: Any, page: Any
) -> None:
    context = make_context(organization, address(1))
    make_run("passed", organization=organization, agent_url=address(1))
    assert "Part of the suite" not in page()
    make_run("passed", organization=organization, agent_url=address(1), full_suite=False)
    of_agent = markup(reader(alice).get(reverse("agent", args=[organization.slug, context.pk])))
    for text in (page(), of_agent.split("Latest runs")[0]):
        assert '<span class="v v-plain">Part of the suite</span>' in text


def test_tests_without_a_verdict_after_the_last_one_are_said_with_the_reason(
    organization: Organization, alice: User, reader: Any, page: Any
) -> None:  # R13
    context = make_context(organization, address(1))
    now = timezone.now()
    url = reverse("agent", args=[organization.slug, context.pk])
    fields: dict[str, Any] = {"organization": organization, "agent_url": address(1)}
    make_run("silent", tested_at=now - timedelta(hours=4), **fields)
    make_run("passed", tested_at=now - timedelta(hours=3), **fields)
    assert "nverified since" not in page() + markup(reader(alice).get(url))
    since = now - timedelta(hours=2)
    make_run("silent", tested_at=since, **fields)
    make_run(report=make_report("passed", harness_error="the lamp is out"), tested_at=now, **fields)
    reason = "the test itself broke (the lamp is out)"
    text = page()
    assert f'Unverified since <time datetime="{iso(since)}">{utc(since)}</time>: {reason}' in " ".join(text.split())
    assert '<span class="v v-passing" title="By Baseline 1, engine 1.0">Passing</span>' in " ".join(text.split())
    of_agent = " ".join(markup(reader(alice).get(url)).split())
    assert f'Unverified since <time datetime="{iso(since)}"' in of_agent
    assert f">{reason}</a>" in of_agent
    make_run("passed", dry_run=True, **fields)
    assert f">{reason}</a>" in " ".join(markup(reader(alice).get(url)).split())


def test_an_agents_page_says_how_the_last_conclusive_test_went_and_what_its_first_track_was(
    organization: Organization, alice: User, reader: Any
) -> None:
    context = make_context(organization, address(1))
    run = make_run("passed", "failed", organization=organization, agent_url=address(1))
    make_run("silent", organization=organization, agent_url=address(1))
    text = markup(reader(alice).get(reverse("agent", args=[organization.slug, context.pk])))
    facts = text.split("<dt>Last conclusive test</dt>")[1].split("</dl>")[0]
    assert "Not passed" in facts
    assert str(run.pk) in facts
    assert run.first_track in facts


def test_each_verdict_says_with_what_it_was_reached_in_pages_and_api(
    organization: Organization, alice: User, reader: Any, page: Any
) -> None:  # E12
    context = make_context(organization, address(1))
    report = replace(make_report("passed"), spec_version="2025-11-25")
    test = make_run(report=report, organization=organization, agent_url=address(1))
    beat = make_run("passed", agent_url=address(1))
    own = f"Baseline 1, engine {test.engine_version}, specification 2025-11-25"
    public = f"Baseline 1, engine {beat.engine_version}"
    text = page()
    assert f'title="By {own}"' in text
    assert f'title="By {public}"' in text
    of_agent = markup(reader(alice).get(reverse("agent", args=[organization.slug, context.pk])))
    assert f'<span class="sub">{own}</span>' in of_agent
    assert f'<span class="sub">{public}</span>' in of_agent
    of_run = markup(reader(alice).get(reverse("run", args=[organization.slug, test.pk])))
    assert all(part in of_run for part in ("Baseline 1", test.engine_version, "2025-11-25", iso(test.tested_at)))
