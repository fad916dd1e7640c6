"""Tables of private runners, of what they have to do, and of what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from compliance.models import ComplianceRun, Job, Runner
from compliance.runners.queue import Load
from dashboard.common.badges import badge
from dashboard.common.formatting import instant
from dashboard.common.tables import Column
from dashboard.credentials.tables import PlainTable
from dashboard.jobs.placement import state_badge, state_since

SHORT = 120  # characters of an error that a list shows; the runner's page shows all of it


class RunnerTable(PlainTable):
    """An organization's private runners, by name."""

    columns = (
        Column("name", "Runner"),
        Column("state", "State"),
        Column("version", "Version"),
        Column("work", "Work"),
        Column("error", "Last error"),
    )
    unlabelled = "name"
    css = "table runners stack"
    caption = "Private runners by name"

    def __init__(self, runners: Sequence[Runner], *, load: Load, prefix: str) -> None:
        super().__init__(runners, prefix=prefix)
        self.load = load

    def render_name(self, runner: Runner) -> SafeString:
        pool = f'<span class="sub">pool {escape(runner.pool)}</span>' if runner.pool else ""
        return SafeString(f'<a href="{self.base}runners/{runner.pk}/">{escape(runner.name)}</a>{pool}')

    def render_state(self, runner: Runner) -> SafeString:
        return SafeString(f'{state_badge(runner)}<span class="sub">{state_since(runner)}</span>')

    def render_version(self, runner: Runner) -> SafeString:
        if not runner.version:
            return SafeString('<span class="quiet">Unknown</span>')
        host = f'<span class="sub">on {escape(runner.host)}</span>' if runner.host else ""
        return SafeString(f"{escape(runner.version)}{host}")

    def render_work(self, runner: Runner) -> str:
        return f"Holds {self.load.held[runner.pk]}, {self.load.waits_for(runner)} waiting"

    def render_error(self, runner: Runner) -> SafeString:
        if not runner.last_error:
            return SafeString('<span class="quiet">None</span>')
        text = runner.last_error if len(runner.last_error) <= SHORT else f"{runner.last_error[:SHORT]}…"
        return SafeString(f'{escape(text)}<span class="sub">{instant(runner.last_error_at)}</span>')


class _AboutAgents(PlainTable):
    """Rows about agents, with the names that the organization gave them. agents: keys and names by address."""

    def __init__(
        self,
        records: Sequence[Job] | Sequence[ComplianceRun],
        *,
        agents: Mapping[str, tuple[UUID, str]],
        prefix: str,
    ) -> None:
        super().__init__(records, prefix=prefix)
        self.agents = agents

    def agent(self, url: str) -> str:
        if url not in self.agents:
            return escape(url)
        key, name = self.agents[url]
        return f'<a href="{self.base}agents/{key}/">{escape(name)}</a>'

    def suite(self, record: Job | ComplianceRun) -> str:
        return escape(f"{record.suite_version.suite.title} {record.suite_version.version}")


class HeldTable(_AboutAgents):
    """What a runner works on."""

    columns = (
        Column("job", "Job"),
        Column("agent", "Agent"),
        Column("progress", "Progress"),
        Column("since", "Since"),
    )
    unlabelled = "job"
    css = "table held stack"
    caption = "What the runner works on"

    def render_job(self, job: Job) -> SafeString:
        link = f'<a href="{self.base}jobs/{job.pk}/">{escape(job.get_triggered_by_display())}</a>'
        again = f", attempt {job.attempt}" if job.attempt > 1 else ""
        return SafeString(f'{link}<span class="sub">{self.suite(job)}{again}</span>')

    def render_agent(self, job: Job) -> SafeString:
        return SafeString(self.agent(job.agent_id))

    def render_progress(self, job: Job) -> SafeString:
        step, done, total = (job.progress.get(name) for name in ("step", "done", "total"))
        counted = f"{done} of {total} checks" if isinstance(done, int) and isinstance(total, int) else "Begun"
        return SafeString(f'{counted}<span class="sub">{escape(str(step or ""))}</span>')

    def render_since(self, job: Job) -> SafeString:
        return instant(job.started_at)


class WaitingTable(_AboutAgents):
    """What waits for a runner or its pool."""

    columns = (
        Column("job", "Job"),
        Column("agent", "Agent"),
        Column("asked", "Asked"),
        Column("until", "Waits until"),
    )
    unlabelled = "job"
    css = "table waiting stack"
    caption = "What waits for the runner, the oldest first"

    def __init__(self, records: Sequence[Job], *, runner: Runner, **more: Any) -> None:
        super().__init__(records, **more)
        self.runner = runner

    def render_job(self, job: Job) -> SafeString:
        link = f'<a href="{self.base}jobs/{job.pk}/">{escape(job.get_triggered_by_display())}</a>'
        pool = f", any of the pool {escape(job.pool)}" if job.pool else ""
        engine = job.suite_version.engine
        lacks = ""
        if self.runner.lacks(engine):
            lacks = f'<span class="sub">{escape(self.runner.name)} lacks the engine {escape(engine)}</span>'
        return SafeString(f'{link}<span class="sub">{self.suite(job)}{pool}</span>{lacks}')

    def render_agent(self, job: Job) -> SafeString:
        return SafeString(self.agent(job.agent_id))

    def render_asked(self, job: Job) -> SafeString:
        return SafeString(f'{instant(job.created_at)}<span class="sub">by {escape(job.actor_name)}</span>')

    def render_until(self, job: Job) -> SafeString:
        return instant(job.expires_at)


class RanTable(_AboutAgents):
    """What a runner ran, newest first."""

    columns = (
        Column("result", "Result"),
        Column("agent", "Agent"),
        Column("suite", "Suite"),
        Column("tested", "Tested"),
    )
    unlabelled = "result"
    css = "table runs stack"
    caption = "Runs by the runner, newest first"

    def render_result(self, run: ComplianceRun) -> SafeString:
        link = f'<a class="sub" href="{self.base}runs/{run.pk}/">{escape(run.headline)}</a>'
        return SafeString(f"{badge(run.overall_status)}{link}")

    def render_agent(self, run: ComplianceRun) -> SafeString:
        return SafeString(self.agent(run.agent_url))

    def render_suite(self, run: ComplianceRun) -> SafeString:
        return SafeString(self.suite(run))

    def render_tested(self, run: ComplianceRun) -> SafeString:
        return instant(run.tested_at)
