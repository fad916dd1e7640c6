"""The guides: pages of docs/ that can be read here."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compliance.models import Organization, User
from dashboard.docs import guides
from tests.dashboard.pages import markup
from tests.docs.pages import PROJECT, anchors


@pytest.fixture(autouse=True)
def forget() -> Any:
    guides.guide.cache_clear()
    yield
    guides.guide.cache_clear()


@pytest.mark.parametrize("name", guides.NAMES)
def test_a_guide_is_a_page_with_its_headings_as_anchors(client: Client, db: None, name: str) -> None:
    response = client.get(reverse("guide", args=[name]))
    assert response.status_code == 200
    page = markup(response).split("<article>")[1].split("</article>")[0]
    assert page.count("<h1>") == 1
    ids = re.findall(r'<h[23] id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {re.sub(r"-\d+$", "", each) for each in ids} <= anchors(PROJECT / "docs" / f"{name}.md")
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page
    for address in re.findall(r'href="(/[^"#]*)', page):
        assert client.get(address).status_code == 200, address
    assert re.findall(r'href="(?!/|#|https?://)[^"]*"', page) == []


def test_the_guides_are_listed_at_their_folder_each_with_what_it_is_about(client: Client, db: None) -> None:
    assert client.get("/docs")["Location"] == "/docs/"
    page = markup(client.get("/docs/")).split("<main")[1].split("</main>")[0]
    assert re.findall(r'<dt><a href="/docs/([^"/]+)/">', page) == list(guides.NAMES)
    for name in guides.NAMES:
        found = guides.guide(name)
        assert found.summary.endswith((".", ":"))
        assert len(found.summary) < 250
        assert f"/docs/{name}/" in page
    assert "<dd>An engine runs suites against agents.</dd>" in page


def test_every_page_leads_to_the_list_of_guides(client: Client, db: None) -> None:
    for address in ("/docs/", "/docs/api/", reverse("account_login")):
        assert '<a href="/docs/">Guides</a>' in markup(client.get(address)), address


def test_the_list_of_guides_is_read_below_the_bar_of_whoever_is_signed_in(
    reader: Any, alice: User, organization: Organization
) -> None:
    response = reader(alice).get("/docs/")
    assert organization.name in markup(response)
    assert "no-store" in response["Cache-Control"]


def test_a_guide_is_read_below_the_bar_of_whoever_is_signed_in(
    reader: Any, alice: User, organization: Organization
) -> None:
    response = reader(alice).get(reverse("guide", args=["runners"]))
    assert organization.name in markup(response)
    assert "no-store" in response["Cache-Control"]


def test_a_terminal_gets_the_text_as_it_is_written(client: Client) -> None:
    response = client.get("/docs/runners.md")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == (PROJECT / "docs" / "runners.md").read_bytes()


@pytest.mark.parametrize("address", ["/docs/operations/", "/docs/operations.md", "/docs/none/", "/docs/..%2f.env.md"])
def test_nothing_else_is_served(client: Client, db: None, address: str) -> None:
    assert client.get(address).status_code == 404


def test_without_the_folder_there_is_no_guide(client: Client, db: None, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr(guides, "FOLDER", tmp_path)
    assert client.get("/docs/").status_code == 404
    assert client.get("/docs/runners/").status_code == 404
    assert client.get("/docs/runners.md").status_code == 404


def test_what_looks_like_html_is_text_and_links_lead_somewhere_or_are_words(monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr(guides, "FOLDER", tmp_path)
    text = "# T\n\n## A `b` c\n\n## A b c\n\n<script>x</script> [dead](adr/1.md) [on](api.md#keys) [js](javascript:x)\n"
    (tmp_path / "runners.md").write_text(text)
    found = guides.guide("runners")
    assert (found.title, found.sections) == ("T", (("a-b-c", "A b c"), ("a-b-c-1", "A b c")))
    assert "<script>" not in found.body
    assert "dead" in found.body
    assert re.findall(r'href="([^"]*)"', found.body) == ["/docs/api/#keys"]
