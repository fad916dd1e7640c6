"""`test_agent`: test an agent for the platform, now and beside its heartbeats."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from compliance.jobs.platform_tests import request_platform_test
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url
from compliance.suites.models import STATUS_SUITE
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor


class Command(BaseCommand):
    help = (
        "Test an agent for the platform: the run belongs to no organization, and moves the public status as a heartbeat"
        " does. The next heartbeat comes when it would have come. Workers run it; this does not wait for the result."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="the agent's address, as registered")
        parser.add_argument("--suite", default=STATUS_SUITE, help=f"the suite to run (default: {STATUS_SUITE})")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            agent_url = normalize_agent_url(options["url"])
            job, created = request_platform_test(
                agent_url=agent_url, suite_slug=options["suite"], by=Actor.system("command line")
            )
        except (InvalidAgentURL, Refused) as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(f"{'Requested' if created else 'Under way already'}: the job {job.pk} of {agent_url}")
