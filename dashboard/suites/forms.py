"""Choosing what to test an agent with: the suites that fit it, and what each of them lets one decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict

from compliance.jobs.models import CredentialChoice
from compliance.models import Credential, Runner
from compliance.registry.models import HOSTED, Pin
from compliance.suites.catalogue import OfferedSuite, Option, offered_suites
from dashboard.common.forms import StyledForm
from dashboard.jobs.placement import ExecutorField, pin_of, value_of

DEFAULT = "baseline"
FEW_PARTS = 5  # suites of one engine that are no whole ones: so many are listed without asking
_OPTION = "option_"
_FAMILIES = {"a2a": "A2A", "a2a-tck": "A2A", "adcp": "AdCP", "mcp-conformance": "MCP conformance"}  # of our engines


class SuiteSelect(forms.Select):
    """A select that says what cannot be run now; where choosing is asking, it cannot be chosen."""

    unavailable: frozenset[str] = frozenset()
    asks = False

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if str(value) in self.unavailable:
            option["attrs"]["disabled"] = self.asks
            option["label"] = f"{option['label']} – not available"
        return option


def suites_for(protocol: str) -> list[OfferedSuite]:
    """The suites that agents of this protocol can be tested with."""
    return [suite for suite in offered_suites() if suite.facts.fits(protocol)]


def family_of(engine: str) -> str:
    """What an engine's suites are about: a name of ours, or the engine's own."""
    return _FAMILIES.get(engine, engine)


def by_family(suites: list[OfferedSuite]) -> list[tuple[str, list[tuple[str, OfferedSuite]]]]:
    """Suites in families, which are what their titles say before the colon, each with the rest of its title.

    A suite without a family is in that of its engine. There are engines with scores of suites: one long list of
    titles that begin alike is read by nobody.
    """
    families: dict[str, list[tuple[str, OfferedSuite]]] = {}
    for suite in suites:
        family, colon, rest = suite.title.partition(": ")
        known, title = (family, rest) if colon else (family_of(suite.engine), suite.title)
        families.setdefault(known, []).append((title, suite))
    return list(families.items())


Choices = list[tuple[str, Any]]  # of a select: a value with its words, or a group's name with its choices


def whole_then_parts(suites: list[OfferedSuite]) -> Choices:
    """The whole suites, then by family those whose runs change no status."""
    whole = [(suite.slug, suite.title) for suite in suites if suite.facts.full]
    parts = by_family([suite for suite in suites if not suite.facts.full])
    return [
        ("Whole suites", whole),
        *((family, [(suite.slug, title) for title, suite in members]) for family, members in parts),
    ]


def by_engine(suites: list[OfferedSuite]) -> Choices:
    """The suite that most people want, then the others of each engine."""
    first = default_among(suites)
    groups: dict[str, Choices] = {}
    for suite in sorted(suites, key=lambda suite: not suite.facts.full):
        if suite is not first:
            groups.setdefault(family_of(suite.engine), []).append((suite.slug, suite.title))
    return [*([(first.slug, f"{first.title} (recommended)")] if first else []), *groups.items()]


def parts_among(suites: list[OfferedSuite]) -> list[OfferedSuite]:
    """The suites of which an engine has scores, each a part of its whole one. Few people look for one of them."""
    counts = Counter(suite.engine for suite in suites if not suite.facts.full)
    return [suite for suite in suites if not suite.facts.full and counts[suite.engine] > FEW_PARTS]


def default_among(suites: list[OfferedSuite]) -> OfferedSuite | None:
    """The suite that “Test now” means when nobody chooses."""
    whole = next((suite for suite in suites if suite.facts.full), suites[0] if suites else None)
    return next((suite for suite in suites if suite.slug == DEFAULT), whole)


class SuiteForm(StyledForm, forms.Form):
    """Which suite: the whole ones, then by family those whose runs change no status.

    asks: the form's button asks for the test, and does not show the suite first. Such a form is short: whoever
    wants a part of a suite looks at it before. runners: where else than at Assay it can be run.
    """

    suite = forms.ChoiceField(
        label="Suite",
        required=False,
        widget=SuiteSelect,
        error_messages={
            "invalid_choice": "There is no suite “%(value)s” that this agent can be tested with. Choose one from this"
            " list, or read under “All suites” which there are."
        },
    )

    executor = ExecutorField(help_text="")

    def __init__(
        self,
        *args: Any,
        suites: list[OfferedSuite],
        asks: bool = False,
        runners: Sequence[Runner] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if runners:
            self.fields["executor"].offer(runners)  # type: ignore[attr-defined]
        else:
            del self.fields["executor"]
        field = self.fields["suite"]
        assert isinstance(field, forms.ChoiceField)
        assert isinstance(field.widget, SuiteSelect)
        field.choices = whole_then_parts([suite for suite in suites if suite.facts.full or not asks])
        field.widget.unavailable = frozenset(suite.slug for suite in suites if suite.problem)
        field.widget.asks = asks and not runners  # they may have what our workers lack


class TestForm(StyledForm, forms.Form):
    """What one suite lets one decide. `scenarios`: keys and titles of those that the agent can be asked.

    credentials: those that may be used on the agent, the one that is chosen automatically first. runners: the
    organization's; engine: which one the suite needs. pin: where it runs until something else is chosen.
    """

    executor = ExecutorField()
    credential = forms.ChoiceField(label="Credential", required=False)
    dry_run = forms.BooleanField(
        label="Dry run",
        required=False,
        help_text="Kept in the history, but changes neither your last test nor any status.",
    )
    all_evidence = forms.BooleanField(
        label="All evidence",
        required=False,
        help_text="Keep the requests and responses of checks that passed too, not only of those that did not.",
    )

    def __init__(
        self,
        *args: Any,
        options: tuple[Option, ...],
        scenarios: list[tuple[str, str]],
        credentials: Sequence[Credential],
        runners: Sequence[Runner] = (),
        engine: str = "",
        pin: Pin = HOSTED,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if runners or pin.is_private:
            self.fields["executor"].offer(runners, engine=engine, pin=pin)  # type: ignore[attr-defined]
            self.fields["executor"].initial = value_of(pin)
        else:
            del self.fields["executor"]
        automatic = f"Automatic: {credentials[0].name}" if credentials else "Automatic: none is granted for this agent"
        self.fields["credential"].choices = [  # type: ignore[attr-defined]
            ("", automatic),
            *((str(credential.pk), credential.name) for credential in credentials),
            (CredentialChoice.NONE.value, "Without a credential"),
        ]
        self._options = options
        for option in options:
            self.fields[_OPTION + option.key] = _field_for(option)
        self.fields["scenarios"] = forms.MultipleChoiceField(
            label="Only these scenarios",
            required=False,
            choices=scenarios,
            widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        )

    def take_suites_options(self) -> None:
        """Fill the suite's options in as it has them: what is bound comes from a page that did not show them.

        Otherwise the form, shown again, would have every box of them cleared.
        """
        assert isinstance(self.data, QueryDict)
        data = self.data.copy()
        for option in self._options:
            name = _OPTION + option.key
            data.setdefault(name, self.fields[name].initial)
        self.data = data

    def option_fields(self) -> list[forms.BoundField]:
        return [self[_OPTION + option.key] for option in self._options]

    @property
    def chosen_pin(self) -> Pin:
        return pin_of(self.cleaned_data.get("executor", ""))

    @property
    def chosen_credential(self) -> UUID | CredentialChoice:
        chosen = self.cleaned_data["credential"]
        if chosen in ("", CredentialChoice.NONE):
            return CredentialChoice.NONE if chosen else CredentialChoice.AUTOMATIC
        return UUID(chosen)

    def chosen_options(self) -> dict[str, Any]:
        """The suite's options as they were chosen, each of its default's kind."""
        chosen = {}
        for option in self._options:
            value = self.cleaned_data[_OPTION + option.key]
            if isinstance(option.default, list):
                value = [line.strip() for line in value.splitlines() if line.strip()]
            elif value is None:
                value = option.default  # an empty number: as the suite has it
            chosen[option.key] = value
        return chosen


def _field_for(option: Option) -> forms.Field:
    words = {"label": option.title, "help_text": option.description, "required": False, "initial": option.default}
    if isinstance(option.default, bool):
        return forms.BooleanField(**words, widget=forms.CheckboxInput(attrs={"class": "form-check-input"}))
    styled = {"class": "form-control"}
    if isinstance(option.default, int):
        return forms.IntegerField(**words, widget=forms.NumberInput(attrs=styled))
    if isinstance(option.default, float):
        return forms.FloatField(**words, widget=forms.NumberInput(attrs=styled))
    if isinstance(option.default, list):
        words["initial"] = "\n".join(map(str, option.default))
        return forms.CharField(**words, max_length=2000, widget=forms.Textarea(attrs={**styled, "rows": 3}))
    words["initial"] = option.default or ""
    return forms.CharField(**words, max_length=2000, widget=forms.TextInput(attrs=styled))
