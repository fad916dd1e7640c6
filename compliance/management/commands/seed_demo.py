"""`seed_demo`: two organizations with real local agents. Their results come from really running them."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify

from compliance.demo_agents import AGENTS
from compliance.embedded.folder import write_private
from compliance.jobs import dispatch
from compliance.jobs.actions import request_owner_test
from compliance.models import AgentContext, Membership, Organization, Relation, Role, Runner, User
from compliance.monitors.actions import What, When, create_monitor
from compliance.registry.actions import AlreadyRegistered, register_agent
from compliance.registry.models import Placement
from compliance.runners.actions import create_runner, new_token
from compliance.suites.actions import publish_engine_suites
from compliance.tenancy.actions import create_organization
from compliance.tenancy.api_keys import BadKey, actor_of
from compliance.tenancy.errors import Refused
from compliance.tenancy.scope import Actor, organization_scope, system_scope
from compliance.vault.actions import add_credential, grant_credential
from compliance.vault.kinds import Kind
from compliance.vault.models import UseFor

_SEEDING = Actor.system("demo seeding")
_RUNNER, _INSIDE = "City hall", "library"  # a private runner of the first organization, and the agent that it tests
_STAFF = ("staff@assay.example", "Sam Staff")
# Who is in which organization, and which agents it has; verified owners are marked as staff would do it.
_ORGANIZATIONS: tuple[dict[str, Any], ...] = (
    {
        "name": "Riverside City",
        "people": (
            ("alice@riverside.example", "Alice Rivers", Role.OWNER),
            ("bob@riverside.example", "Bob Brook", Role.MEMBER),
        ),
        "agents": {"library": True, "weather": True, "payroll": True, "signals": True},
    },
    {
        "name": "Harbor Logistics",
        "people": (
            ("charlie@harbor.example", "Charlie Dock", Role.OWNER),
            ("dana@harbor.example", "Dana Pier", Role.ADMIN),
        ),
        "agents": {"library": False, "translator": True, "shipping": True, "archive": False},
    },
)


class Command(BaseCommand):
    help = "Seed the demo and print its logins. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--agents-json", type=Path, required=True, help="file that maps demo agents to their URLs")
        parser.add_argument(
            "--logins-file", type=Path, help="where the passwords are kept (default: beside the former)"
        )
        parser.add_argument(
            "--runner-token-file", type=Path, help="make a private runner, too; its token is kept there and not printed"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("This is no demo: set ASSAY_DEMO=1 if you really want demo users in this database.")
        agents: dict[str, str] = json.loads(options["agents_json"].read_text())
        logins_file: Path = options["logins_file"] or options["agents_json"].with_name("demo-logins.json")
        passwords: dict[str, str] = json.loads(logins_file.read_text()) if logins_file.exists() else {}
        publish_engine_suites(by=_SEEDING)
        staff = self._user(*_STAFF, passwords, is_staff=True, is_superuser=True)
        logins = [(staff, "staff site", "")]
        for number, plan in enumerate(_ORGANIZATIONS):
            people = [(self._user(email, name, passwords), role) for email, name, role in plan["people"]]
            organization = self._organization(plan["name"], people)
            contexts = self._agents(organization, people[0][0], plan["agents"], agents)
            if number == 0 and options["runner_token_file"]:
                self._runner(organization, people[0][0], contexts.get(_INSIDE), options["runner_token_file"])
            logins += [(user, organization.name, role) for user, role in people]
        write_private(logins_file, json.dumps(passwords, indent=2))
        self.stdout.write("Demo logins:")
        for user, where, role in logins:
            where_as_who = f"{where}, {Role(role).label.lower()}" if role else where
            self.stdout.write(f"  {user.email:<26} {passwords[user.email]:<18} {where_as_who}")

    def _user(self, email: str, name: str, passwords: dict[str, str], **fields: Any) -> User:
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User(email=email, name=name, **fields)
        if email not in passwords or not user.pk:
            passwords[email] = passwords.get(email) or secrets.token_urlsafe(12)
            user.set_password(passwords[email])
            user.save()
        EmailAddress.objects.get_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
        return user

    def _organization(self, name: str, people: list[tuple[User, Role]]) -> Organization:
        owner = people[0][0]
        own = (membership.organization for membership in Membership.objects.of_user(owner))
        organization = next((organization for organization in own if organization.name == name), None)
        if organization is None:
            organization = create_organization(name=name, by=owner, slug=slugify(name))
        with organization_scope(organization.id):
            for user, role in people[1:]:
                Membership.objects.get_or_create(organization=organization, user=user, defaults={"role": role})
        return organization

    def _agents(
        self, organization: Organization, owner: User, agents: dict[str, bool], urls: dict[str, str]
    ) -> dict[str, AgentContext]:
        known, contexts = {agent.name: agent for agent in AGENTS}, {}
        for name, verified in agents.items():
            title = known[name].title
            if name not in urls:
                self.stdout.write(f"{title} is not served here; the log of the demo agents says why.")
                continue
            try:
                context = register_agent(organization=organization, url=urls[name], name=title, by=owner)
            except AlreadyRegistered as existing:
                context = existing.context
                new = False
            else:
                new = True
                dispatch.send(dispatch.DETECT, context.agent_url)
            contexts[name] = context
            if verified and not context.is_verified_owner:
                with system_scope(by=_SEEDING, reason="mark the demo's verified owners"):
                    AgentContext.objects.filter(pk=context.pk).update(relation=Relation.VERIFIED_OWNER)
            if new and verified and (token := known[name].token):
                self._grant_token(organization, owner, context, token)
            if new:  # a restart is no reason to test in somebody's name
                for suite in known[name].suites:
                    try:
                        request_owner_test(organization=organization, context_id=context.pk, by=owner, suite_slug=suite)
                    except Refused as refusal:
                        self.stdout.write(f"{title}: {refusal}")
        return contexts

    def _runner(self, organization: Organization, owner: User, context: AgentContext | None, token_file: Path) -> None:
        """A private runner whose token is in the file; with work of its own when it is new."""
        try:
            actor_of(token_file.read_text().strip() if token_file.exists() else "")
        except BadKey:
            pass
        else:
            return
        with organization_scope(organization.id):
            known = Runner.objects.not_deleted(organization.id).filter(name=_RUNNER).first()
        if known is None:
            runner, token = create_runner(organization=organization, name=_RUNNER, by=owner)
        else:
            runner, token = new_token(organization=organization, runner_id=known.pk, by=owner)
        write_private(token_file, f"{token}\n")
        if known is None and context is not None:
            self._work_inside(organization, owner, context, Placement(runner_id=runner.pk))

    def _work_inside(
        self, organization: Organization, owner: User, context: AgentContext, placement: Placement
    ) -> None:
        try:
            create_monitor(
                organization=organization,
                context_id=context.pk,
                name=f"{context.name}, from {_RUNNER}",
                suite_slug="baseline",
                when=When(interval_minutes=60),
                what=What(placement=placement),
                by=owner,
            )
            request_owner_test(
                organization=organization,
                context_id=context.pk,
                by=owner,
                suite_slug="mcp-conformance",
                placement=placement,
            )
        except Refused as refusal:
            self.stdout.write(f"{_RUNNER}: {refusal}")

    def _grant_token(self, organization: Organization, owner: User, context: AgentContext, token: str) -> None:
        """Keep the token that the agent wants, and let tests and heartbeats use it."""
        try:
            credential = add_credential(
                organization=organization,
                name=f"{context.name} token",
                kind=Kind.BEARER,
                parameters={},
                secret=token,
                by=owner,
            )
        except Refused as refusal:
            self.stderr.write(f"{context.name} stays locked: {refusal}")
            return
        grant_credential(
            organization=organization,
            credential_id=credential.pk,
            uses=UseFor.values,
            context_ids=[context.pk],
            days=settings.GRANT_DEFAULT_DAYS,
            by=owner,
        )
