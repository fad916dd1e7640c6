"""The forms of a page, as a browser would send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import quote

# What somebody types into an empty field.
FILLED = {"text": "something", "email": "dana@example.org", "number": "1", "password": "correct-horse-battery"}


@dataclass
class FoundForm:
    action: str
    method: str
    values: dict[str, list[str]] = field(default_factory=dict)  # what it is sent with

    def body(self, **changed: str) -> str:
        """Its values, some of them changed, as application/x-www-form-urlencoded."""
        values = self.values | {name: [value] for name, value in changed.items()}
        return encoded(values)


def encoded(values: dict[str, list[str]]) -> str:
    """Like urlencode; also with halves of surrogate pairs, which a program may send and a browser does not."""
    return "&".join(f"{escaped(name)}={escaped(value)}" for name, chosen in values.items() for value in chosen)


def escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


class _Forms(HTMLParser):
    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.forms: list[FoundForm] = []
        self.form: FoundForm | None = None
        self.select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "form":
            action = has.get("action") or self.address
            self.form = FoundForm(action, (has.get("method") or "get").upper())
            self.forms.append(self.form)
        if self.form is None:
            return
        name = has.get("name") or ""
        if tag == "select":
            self.select = name
            self.form.values.setdefault(name, [])
        elif tag == "option" and self.select and ("selected" in has or not self.form.values[self.select]):
            self.form.values[self.select] = [has.get("value") or ""]
        elif name and tag == "textarea":
            self.form.values.setdefault(name, [""])
        elif name and tag in ("input", "button"):
            chosen = self.form.values.setdefault(name, [])
            if has.get("type") not in ("checkbox", "radio") or "checked" in has:
                chosen.append(has.get("value") or FILLED.get(has.get("type") or "text", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        if tag == "select":
            self.select = ""


def forms_in(page: str, address: str) -> list[FoundForm]:
    found = _Forms(address)
    found.feed(page)
    return found.forms
