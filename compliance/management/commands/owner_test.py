"""`owner_test`: test one of an organization's agents from the command line, on record like any other test."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError

from compliance.jobs.actions import request_owner_test, why_waiting
from compliance.models import AgentContext, ComplianceRun, Job, Organization, Runner, User
from compliance.registry.models import HOSTED, Placement
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import Actor, organization_scope, system_scope

PASSING, FAILING, INCONCLUSIVE, USAGE = 0, 1, 2, 3
_EXIT_CODES = {"passing": PASSING, "failing": FAILING, "partial": FAILING, "inconclusive": INCONCLUSIVE}
_WAITING = {"hosted": "waiting for a worker", "private": "waiting for a private runner"}
_COMMAND_LINE = Actor.system("command line")


class _UsageError(Exception):
    """The call makes no sense or is not allowed; exit code 3."""


class Command(BaseCommand):
    help = (
        "Test an agent of an organization. Exit codes: 0 passing (or, without --wait, requested),"
        " 1 failing or partial, 2 inconclusive or no result in time, 3 wrong usage or not allowed."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)

        def usage_error(message: str) -> None:
            # argparse ends with 2, which here means inconclusive.
            parser.print_usage()
            raise SystemExit(self._say(f"{message}\n", USAGE))

        parser.error = usage_error  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="the agent's address, as registered")
        parser.add_argument("--org", required=True, metavar="SLUG", help="the organization's address part")
        parser.add_argument("--suite", default="baseline", help="the suite to run (default: baseline)")
        parser.add_argument("--as", dest="email", help="the member who asks (default: the command line itself)")
        parser.add_argument("--dry-run", action="store_true", help="record the run, but let it move nothing")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--runner", metavar="NAME", help="run it on this private runner of the organization")
        where.add_argument("--pool", metavar="NAME", help="run it on any private runner of this pool")
        parser.add_argument("--wait", action="store_true", help="wait for the result")
        parser.add_argument(
            "--timeout", type=int, default=settings.TEST_DEADLINE_SECONDS * 2, help="seconds to wait at most"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["timeout"] < 1:
                raise _UsageError("--timeout is a number of seconds from 1 on.")
            organization, job, created = self._request(options)
        except (_UsageError, NotAllowed, Refused, InvalidAgentURL) as error:
            raise SystemExit(self._say(f"{error}\n", USAGE)) from None
        except OperationalError as error:
            # A traceback would end with 1, which says that the agent failed.
            message = f"The database cannot be reached; the agent was not tested. Is the environment set?\n{error}"
            raise SystemExit(self._say(message, USAGE)) from None
        if not options["wait"]:
            self._print(options, {"job": str(job.pk), "state": job.state, "created": created})
            return
        run = self._wait(organization, job, options)
        if run is None:
            raise SystemExit(self._say(f"{self._why_none(organization, job)}\n", INCONCLUSIVE))
        self._print(options, _described(run))
        raise SystemExit(_EXIT_CODES[run.overall_status])

    def _request(self, options: dict[str, Any]) -> tuple[Organization, Job, bool]:
        agent_url = normalize_agent_url(options["url"])
        with system_scope(by=_COMMAND_LINE, reason="find an organization by its address", what=options["org"]):
            organization = Organization.objects.filter(slug=options["org"]).first()
        if organization is None:
            raise _UsageError(f"There is no organization “{options['org']}”.")
        by: User | Actor = _COMMAND_LINE
        if options["email"]:
            user = User.objects.filter(email__iexact=options["email"], is_active=True).first()
            if user is None:
                raise _UsageError(f"There is no user {options['email']}.")
            by = user
        with organization_scope(organization.id):
            context = AgentContext.objects.filter(organization=organization, agent_id=agent_url).first()
            placement = _placement(organization, options)
        if context is None:
            raise _UsageError(f"{organization.name} has no agent at {agent_url}. Register it first.")
        job, created = request_owner_test(
            organization=organization,
            context_id=context.pk,
            by=by,
            suite_slug=options["suite"],
            dry_run=options["dry_run"],
            placement=placement,
        )
        return organization, job, created

    def _wait(self, organization: Organization, job: Job, options: dict[str, Any]) -> ComplianceRun | None:
        deadline = time.monotonic() + options["timeout"]
        shown = ""
        while time.monotonic() < deadline:
            with organization_scope(organization.id):
                current = Job.objects.get(pk=job.pk)
                if current.run_id is not None:
                    return ComplianceRun.objects.select_related("suite_version__suite").get(pk=current.run_id)
            if not current.is_active:
                return None
            step = current.progress.get("step", "") if current.state == "leased" else _WAITING[current.executor_kind]
            if step and step != shown and not options["json"]:
                self.stdout.write(f"  {step}")
                shown = step
            time.sleep(0.3)
        return None

    def _why_none(self, organization: Organization, job: Job) -> str:
        with organization_scope(organization.id):
            current = Job.objects.select_related("suite_version").get(pk=job.pk)
            placed = (
                list(Runner.objects.named_by(organization.id, current.placement))
                if current.placement.is_private
                else []
            )
        if not current.is_active:
            return f"The job ended without a run: {current.get_state_display().lower()}. {current.end_reason}".strip()
        who = "private runner" if current.placement.is_private else "worker"
        why = why_waiting(current.placement, current.suite_version.engine, placed)
        return f"No result in time. {why or f'Is a {who} running?'}"

    def _print(self, options: dict[str, Any], result: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(result, indent=2))
        else:
            for key, value in result.items():
                self.stdout.write(f"{key}: {value}")

    def _say(self, message: str, code: int) -> int:
        self.stderr.write(message.rstrip("\n"))
        return code


def _placement(organization: Organization, options: dict[str, Any]) -> Placement:
    """Where the test is to run. Needs the organization's scope. Raises _UsageError for a runner that is not there."""
    if options["pool"]:
        return Placement(pool=options["pool"].strip().lower())
    if not options["runner"]:
        return HOSTED
    runner = Runner.objects.not_deleted(organization.id).filter(name__iexact=options["runner"].strip()).first()
    if runner is None:
        raise _UsageError(f"{organization.name} has no private runner “{options['runner']}”.")
    return Placement(runner_id=runner.pk)


def _described(run: ComplianceRun) -> dict[str, Any]:
    return {
        "run": str(run.pk),
        "agent_url": run.agent_url,
        "status": run.overall_status,
        "headline": run.headline,
        "triggered_by": run.triggered_by,
        "suite": f"{run.suite_version.suite.slug} {run.suite_version.version}",
        "tested_at": run.tested_at.isoformat(),
        "duration_ms": run.duration_ms,
        "executor": f"private runner {run.executor_name}" if run.executor_name else "hosted",
        **run.counts,
    }
