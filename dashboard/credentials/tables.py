"""Tables of the vault: credentials, and who used which for which run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from compliance.models import Credential, CredentialGrant, TriggeredBy
from compliance.vault.access_log import Access
from compliance.vault.models import SentTo, UseFor, UseResult
from dashboard.common.badges import badge
from dashboard.common.formatting import instant
from dashboard.common.tables import Column

_KINDS = {str(kind): escape(kind.label) for kind in TriggeredBy}
_RESULTS = {str(result): escape(result.label) for result in UseResult}
_WHERE = {
    SentTo.AGENT: "to the agent",
    SentTo.TOKEN_ENDPOINT: "to the token endpoint",
    SentTo.RUNNER: "to a private runner",
}
_SHORT = {
    UseFor.OWNER_TESTS: "tests",
    UseFor.MONITORS: "monitors",
    UseFor.HEARTBEATS: "heartbeats",
    UseFor.PRIVATE_RUNNERS: "private runners",
}


def result_badge(result: str) -> SafeString:
    """Used, or why not, by shape, colour and word."""
    shape = "passed" if result == UseResult.OK else "failed"
    return SafeString(f'<span class="v v-{shape}">{_RESULTS[result]}</span>')


class PlainTable:
    """Rows whose cells are written by render_<column>(record), as text with everything foreign escaped."""

    columns: tuple[Column, ...]
    unlabelled: str  # the first column, which narrow screens show as the row's head
    css: str
    caption: str

    def __init__(self, records: Sequence[Any], *, prefix: str) -> None:
        """prefix: the organization's address, such as "/o/alpha/"."""
        self.records = records
        self.base = prefix

    def html_rows(self) -> Iterator[SafeString]:
        """The rows. The header's words go along for narrow screens, where rows become blocks."""
        cells = [
            (
                "<td>" if column.name == self.unlabelled else f'<td data-label="{escape(column.words)}">',
                getattr(self, f"render_{column.name}"),
            )
            for column in self.columns
        ]
        for record in self.records:
            yield SafeString("<tr>" + "".join(f"{td}{render(record)}</td>" for td, render in cells) + "</tr>")


class CredentialTable(PlainTable):
    """An organization's credentials, by name."""

    columns = (
        Column("name", "Credential"),
        Column("kind", "Kind"),
        Column("granted", "Granted for"),
        Column("used", "Last used"),
    )
    unlabelled = "name"
    css = "table credentials stack"
    caption = "Credentials by name"

    def __init__(
        self,
        kept: Sequence[Credential],
        *,
        grants: Mapping[UUID, list[CredentialGrant]],
        last_uses: Mapping[UUID, datetime],
        prefix: str,
        with_hints: bool,
    ) -> None:
        """grants: those that were not revoked."""
        super().__init__(kept, prefix=prefix)
        self.grants, self.last_uses, self.with_hints = grants, last_uses, with_hints

    def render_name(self, record: Credential) -> SafeString:
        hint = ""
        if self.with_hints and record.hint:
            hint = f'<span class="sub">ends in <code>{escape(record.hint)}</code></span>'
        return SafeString(f'<a href="{self.base}credentials/{record.pk}/">{escape(record.name)}</a>{hint}')

    def render_kind(self, record: Credential) -> str:
        return escape(record.get_kind_display())

    def render_granted(self, record: Credential) -> SafeString:
        grants = self.grants.get(record.pk, [])
        live = [grant for grant in grants if grant.is_live]
        if not live:
            words = "Expired" if grants else "Nothing yet"
            return SafeString(f'<span class="quiet">{words}</span>')
        uses = ", ".join(short for use, short in _SHORT.items() if any(grant.is_for(use) for grant in live))
        agents = len({context_id for grant in live for context_id in grant.context_ids})
        ends = instant(max(grant.expires_at for grant in live))
        many = f"{agents} agent{'' if agents == 1 else 's'}"
        return SafeString(f'{uses.capitalize()}<span class="sub">{many}, until {ends}</span>')

    def render_used(self, record: Credential) -> SafeString:
        return instant(self.last_uses.get(record.pk))


class AccessTable(PlainTable):
    """Uses of credentials, newest first. Their order is the keyset's: no column sorts."""

    columns = (
        Column("result", "Result"),
        Column("at", "When"),
        Column("credential", "Credential"),
        Column("agent", "Agent"),
        Column("cause", "For"),
        Column("run", "Run"),
    )
    unlabelled = "result"
    css = "table uses stack"
    caption = "Uses of credentials, newest first"

    def render_result(self, use: Access) -> SafeString:
        reason = f'<span class="sub">{escape(use.reason)}</span>' if use.reason else ""
        return SafeString(f"{result_badge(use.result)}{reason}")

    def render_at(self, use: Access) -> SafeString:
        return instant(use.at)

    def render_credential(self, use: Access) -> SafeString:
        name = escape(use.credential_name) or "unknown"
        where = _WHERE[SentTo(use.sent_to)]
        if use.sent_to == SentTo.RUNNER:
            where = f"{where}, {escape(use.executor_name)}"
        # One that never was has no page.
        link = f'<a href="{self.base}credentials/{use.credential_id}/">{name}</a>' if use.credential_name else name
        return SafeString(f'{link}<span class="sub">{where}</span>')

    def render_agent(self, use: Access) -> SafeString:
        url = escape(use.agent_url)
        if use.context_id is None:
            return SafeString(f'<span class="sub">{url}</span>')
        return SafeString(f'<a href="{self.base}agents/{use.context_id}/">{escape(use.agent_name)}</a>')

    def render_cause(self, use: Access) -> SafeString:
        by = "" if use.triggered_by == TriggeredBy.HEARTBEAT else f'<span class="sub">{escape(use.actor_name)}</span>'
        return SafeString(f"{_KINDS[use.triggered_by]}{by}")

    def render_run(self, use: Access) -> SafeString:
        if use.run_status is None:
            return SafeString('<span class="quiet">None recorded</span>')
        return SafeString(f'<a class="d-inline-block" href="{self.base}runs/{use.run_id}/">{badge(use.run_status)}</a>')


def as_csv(use: Access) -> list[Any]:
    """A use as a line of the export."""
    return [
        use.at.isoformat(),
        use.result,
        use.reason,
        use.credential_name,
        str(use.credential_id),
        use.credential_version,
        use.sent_to,
        use.agent_name,
        use.agent_url,
        use.triggered_by,
        use.actor_name,
        str(use.run_id),
        use.run_status or "",
        str(use.job_id),
        str(use.grant_id or ""),
        use.executor_name,
    ]


CSV_HEADER = [
    *("at", "result", "reason", "credential", "credential_id", "credential_version", "sent_to", "agent", "agent_url"),
    *("triggered_by", "actor", "run_id", "run_status", "job_id", "grant_id", "runner"),
]
