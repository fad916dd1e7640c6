"""Choosing what to test an agent with: the suites that fit it, and what each of them lets one decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict

from compliance.jobs.models import CredentialChoice
from compliance.models import Credential, Runner, SuiteVersion
from compliance.registry.models import HOSTED, Placement
from compliance.suites.catalogue import OfferedSuite, Option, offered_suites
from dashboard.common.forms import StyledForm
from dashboard.jobs.forms import PlacementField, SelectWithDisabled

DEFAULT = "baseline"
FEW_PARTS = 5  # suites of one engine that are no whole ones: so many are listed without asking
_FAMILIES = {"a2a": "A2A", "a2a-tck": "A2A", "adcp": "AdCP", "mcp-conformance": "MCP conformance"}  # of our engines

Choices = list[tuple[str, Any]]  # of a select: a value with its words, or a group's name with its choices


def suites_for(protocol: str) -> list[OfferedSuite]:
    """The suites that agents of this protocol can be tested with."""
    return [suite for suite in offered_suites() if suite.facts.fits(protocol)]


def scenarios_of(version_id: int, protocol: str) -> list[tuple[str, str]]:
    """Keys and titles of the scenarios that an agent of this protocol can be tested with."""
    tracks = SuiteVersion.objects.values_list("definition__tracks", flat=True).get(pk=version_id)
    return [
        (scenario["key"], f"{track['title']}: {scenario['title']}")
        for track in tracks or []
        for scenario in track["scenarios"]
        if not protocol or scenario.get("protocol", "") in ("", protocol)
    ]


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


def whole_then_parts(suites: list[OfferedSuite]) -> Choices:
    """The whole suites, then by family those whose runs change no status."""
    whole = [(suite.title, suite) for suite in suites if suite.facts.full]
    parts = by_family([suite for suite in suites if not suite.facts.full])
    return [
        (family, [_choice(suite, title) for title, suite in members])
        for family, members in [("Whole suites", whole), *parts]
    ]


def by_engine(suites: list[OfferedSuite]) -> Choices:
    """The suite that most people want, then the others of each engine."""
    first = default_among(suites)
    groups: dict[str, Choices] = {}
    for suite in sorted(suites, key=lambda suite: not suite.facts.full):
        if suite is not first:
            groups.setdefault(family_of(suite.engine), []).append(_choice(suite, suite.title))
    return [*([_choice(first, f"{first.title} (recommended)")] if first else []), *groups.items()]


def _choice(suite: OfferedSuite, title: str) -> tuple[str, str]:
    return suite.slug, f"{title} – not available" if suite.problem else title


def parts_among(suites: list[OfferedSuite]) -> list[OfferedSuite]:
    """The suites of which an engine has scores, each a part of its whole one. Few people look for one of them."""
    counts = Counter(suite.engine for suite in suites if not suite.facts.full)
    return [suite for suite in suites if not suite.facts.full and counts[suite.engine] > FEW_PARTS]


def default_among(suites: list[OfferedSuite]) -> OfferedSuite | None:
    """The suite that “Test now” means when nobody chooses."""
    whole = next((suite for suite in suites if suite.facts.full), suites[0] if suites else None)
    return next((suite for suite in suites if suite.slug == DEFAULT), whole)


class SuiteForm(StyledForm, forms.Form):
    """Which suite, and where it runs.

    starts_test: the form's button starts the test, and does not show the suite first. Such a form offers whole suites
    only, and none that cannot be run. runners: where else than at Assay a suite can be run.
    """

    suite = forms.ChoiceField(
        label="Suite",
        required=False,
        widget=SelectWithDisabled,
        error_messages={
            "invalid_choice": "There is no suite “%(value)s” that this agent can be tested with. Choose one from this"
            " list, or read under “All suites” which there are."
        },
    )

    def __init__(
        self,
        *args: Any,
        suites: list[OfferedSuite],
        starts_test: bool = False,
        runners: Sequence[Runner] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["suite"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = whole_then_parts([suite for suite in suites if suite.facts.full or not starts_test])
        if runners:
            self.fields["placement"] = PlacementField(runners)
        elif starts_test:  # no runner has what our workers lack
            field.widget.disabled_values = frozenset(suite.slug for suite in suites if suite.problem)
        self.style()


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    widget = forms.Textarea(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()]


def credential_of(value: str) -> UUID | CredentialChoice:
    return CredentialChoice.NONE if value == CredentialChoice.NONE else UUID(value)


class TestForm(StyledForm, forms.Form):
    """What one suite lets one decide. `scenarios`: keys and titles of those that the agent can be asked.

    credentials: those that may be used on the agent, the one that is chosen automatically first. runners: the
    organization's; engine: which one the suite needs. placement: where it runs until something else is chosen.
    """

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
    scenarios = forms.MultipleChoiceField(
        label="Only these scenarios", required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(
        self,
        *args: Any,
        options: tuple[Option, ...],
        scenarios: list[tuple[str, str]],
        credentials: Sequence[Credential],
        runners: Sequence[Runner] = (),
        engine: str = "",
        placement: Placement = HOSTED,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if runners or placement.is_private:
            help_text = "A private runner reaches agents inside your network."
            self.fields["placement"] = PlacementField(runners, engine=engine, placement=placement, help_text=help_text)
        automatic = f"Automatic: {credentials[0].name}" if credentials else "Automatic: none is granted for this agent"
        self.fields["credential"] = forms.TypedChoiceField(
            label="Credential",
            required=False,
            choices=[
                ("", automatic),
                *((str(credential.pk), credential.name) for credential in credentials),
                (CredentialChoice.NONE.value, "Without a credential"),
            ],
            coerce=credential_of,
            empty_value=CredentialChoice.AUTOMATIC,
        )
        scenarios_field = self.fields["scenarios"]
        assert isinstance(scenarios_field, forms.MultipleChoiceField)
        scenarios_field.choices = scenarios
        self.options = {f"option_{option.key}": option for option in options}
        self.fields.update({name: _field_for(option) for name, option in self.options.items()})
        self.style()

    def take_suites_options(self) -> None:
        """Fill the suite's options in as it has them: what is bound comes from a page that did not show them.

        Otherwise the form, shown again, would have every box of them cleared.
        """
        assert isinstance(self.data, QueryDict)
        data = self.data.copy()
        for name in self.options:
            data.setdefault(name, self.fields[name].prepare_value(self[name].initial))
        self.data = data

    def option_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.options]

    @property
    def chosen_placement(self) -> Placement:
        placement: Placement = self.cleaned_data.get("placement", HOSTED)
        return placement

    def chosen_options(self) -> dict[str, Any]:
        """The suite's options as they were chosen; an empty number is as the suite has it."""
        chosen = {option.key: (self.cleaned_data[name], option.default) for name, option in self.options.items()}
        return {key: default if value is None else value for key, (value, default) in chosen.items()}


def _field_for(option: Option) -> forms.Field:
    words = {"label": option.title, "help_text": option.description, "required": False, "initial": option.default}
    if isinstance(option.default, bool):
        return forms.BooleanField(**words)
    if isinstance(option.default, int):
        return forms.IntegerField(**words)
    if isinstance(option.default, float):
        return forms.FloatField(**words)
    if isinstance(option.default, list):
        return LinesField(**words, max_length=2000)
    return forms.CharField(**words, max_length=2000)
