"""Agents and agent contexts: heartbeats, and who is an agent's verified owner."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from compliance.jobs.platform_tests import request_platform_test
from compliance.models import Agent, AgentContext, Relation, User
from compliance.registry.actions import set_heartbeats, set_paused, set_relation
from compliance.tenancy.errors import Refused
from dashboard.staff.base import ExactSearch, ReadOnlyAdmin, StaffAdmin
from dashboard.staff.confirm import ask, confirmed, log_change


class HeartbeatFilter(admin.SimpleListFilter):
    """Agents by the state of their heartbeat."""

    title = "heartbeat"
    parameter_name = "heartbeat"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("overdue", "Overdue"),
            ("due", "Due"),
            ("scheduled", "Scheduled"),
            ("paused", "Paused"),
            ("opted_out", "Opted out"),
            ("unregistered", "No organization has it"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Agent]) -> QuerySet[Agent]:
        now = timezone.now()
        agents = Agent.objects
        querysets = {
            "overdue": agents.overdue(now),
            "due": agents.due(now),
            "scheduled": agents.with_heartbeats().filter(next_heartbeat_at__gt=now),
            "paused": agents.filter(paused=True),
            "opted_out": agents.filter(opted_out=True),
            "unregistered": agents.filter(registrations=0),
        }
        value = self.value()
        return queryset & querysets[value].order_by() if value in querysets else queryset


@admin.register(Agent)
class AgentAdmin(StaffAdmin):
    list_display = [
        "agent_url",
        "heartbeat",
        "next_heartbeat_at",
        "last_checked_at",
        "heartbeat_interval_hours",
        "lifecycle_stage",
        "protocol",
        "registrations",
    ]
    list_filter = [HeartbeatFilter, "lifecycle_stage", "protocol"]
    search_fields = ["agent_url__startswith"]
    search_help_text = "The beginning of an agent's URL."
    ordering = ["next_heartbeat_at", "agent_url"]
    actions = ["test_now", "pause", "resume"]
    readonly_fields = [
        "agent_url",
        "next_heartbeat_at",
        "last_checked_at",
        "protocol",
        "protocol_note",
        "registrations",
        "created_at",
    ]
    fields = [
        readonly_fields[0],
        *("lifecycle_stage", "heartbeat_interval_hours", "paused", "opted_out", "max_at_once"),
        *readonly_fields[1:],
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # its runs stay, and the next registration would create it again

    def save_model(self, request: HttpRequest, obj: Agent, form: ModelForm, change: bool) -> None:
        set_heartbeats(agent=obj, changed=form.changed_data)

    @admin.display(description="heartbeat")
    def heartbeat(self, agent: Agent) -> str:
        if agent.paused:
            return "Paused"
        if agent.opted_out:
            return "Opted out"
        if not agent.has_heartbeats or not agent.registrations:
            return "None"
        if agent.is_overdue:
            return "Overdue"
        return "Due" if agent.next_heartbeat_at <= timezone.now() else "Scheduled"

    @admin.action(description="Test for the platform now", permissions=["change"])
    def test_now(self, request: HttpRequest, queryset: QuerySet[Agent]) -> HttpResponse | None:
        chosen = list(queryset[: self.list_per_page])
        if not confirmed(request):
            return ask(
                self,
                request,
                action="test_now",
                question="Test these agents for the platform now?",
                consequence="The runs belong to no organization: everybody who has the agent reads them, and they move"
                " its public status. The next heartbeats come when they would have come.",
                rows=[(agent.pk, agent.pk) for agent in chosen],
            )
        assert isinstance(request.user, User)
        requested = []
        for agent in chosen:
            try:
                _, created = request_platform_test(agent_url=agent.pk, by=request.user.as_actor())
            except Refused as refused:
                self.message_user(request, str(refused), messages.WARNING)
            else:
                requested += [agent] if created else []
        log_change(request, requested, "Test for the platform requested.")
        self.message_user(
            request,
            f"Tests requested: {len(requested)} of {len(chosen)}. A test that is under way is not requested again.",
            messages.SUCCESS if requested else messages.WARNING,
        )
        return None

    @admin.action(description="Pause heartbeats", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self._set_paused(request, queryset, True)

    @admin.action(description="Resume heartbeats", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self._set_paused(request, queryset, False)

    def _set_paused(self, request: HttpRequest, queryset: QuerySet[Agent], paused: bool) -> None:
        changed = set_paused(agents=queryset, paused=paused)
        word = "paused" if paused else "resumed"
        log_change(request, changed, f"Heartbeats {word}.")
        self.message_user(request, f"Heartbeats {word}: {len(changed)}.", messages.SUCCESS)


@admin.register(AgentContext)
class AgentContextAdmin(ExactSearch, ReadOnlyAdmin):
    """Only the relation changes, by the two actions below."""

    list_display = ["name", "organization", "address", "relation", "created_at"]
    list_filter = ["relation"]
    list_select_related = ["organization"]
    agent_field = "agent_id"
    search_help_text = "An agent's URL or an organization's key (org_…), in full."
    ordering = ["-id"]  # keys are time-ordered, and indexed
    actions = ["mark_verified_owner", "unmark_verified_owner"]

    @admin.display(description="agent", ordering="agent_id")
    def address(self, context: AgentContext) -> str:
        return context.agent_url

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("compliance.change_agentcontext")

    @admin.action(description="Mark as verified owner", permissions=["verify"])
    def mark_verified_owner(self, request: HttpRequest, queryset: QuerySet[AgentContext]) -> HttpResponse | None:
        return self._relate(
            request,
            queryset,
            Relation.VERIFIED_OWNER,
            action="mark_verified_owner",
            question="Mark these organizations as verified owners?",
            consequence="Their tests become owner tests and move the agent's public status, they read the evidence of"
            " heartbeats, and they decide about heartbeats.",
        )

    @admin.action(description="Make an observer again", permissions=["verify"])
    def unmark_verified_owner(self, request: HttpRequest, queryset: QuerySet[AgentContext]) -> HttpResponse | None:
        return self._relate(
            request,
            queryset,
            Relation.OBSERVER,
            action="unmark_verified_owner",
            question="Make these organizations observers again?",
            consequence="Their tests from now on are observer tests, and they lose the evidence of heartbeats and the"
            " decision about them. Runs on record stay as they are.",
        )

    def _relate(
        self,
        request: HttpRequest,
        queryset: QuerySet[AgentContext],
        relation: Relation,
        *,
        action: str,
        question: str,
        consequence: str,
    ) -> HttpResponse | None:
        chosen = list(queryset.exclude(relation=relation).select_related("organization")[:100])
        if not confirmed(request):
            rows = [(one.pk, f"{one.organization.name}: {one.agent_url}") for one in chosen]
            return ask(self, request, action=action, question=question, consequence=consequence, rows=rows)
        set_relation(contexts=chosen, relation=relation)
        log_change(request, chosen, f"Now: {relation.label.lower()}.")
        self.message_user(request, f"{len(chosen)} now: {relation.label.lower()}.", messages.SUCCESS)
        return None
