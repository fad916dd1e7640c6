"""Deliveries of webhooks, for staff to read."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from compliance.models import WebhookDelivery
from compliance.pagination import Keyset
from compliance.registry.urls import InvalidAgentURL, normalize_agent_url
from dashboard.staff.history import HistoryAdmin


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(HistoryAdmin):
    """Every delivery whose signature was right, newest first, as long as they are kept."""

    keyset = Keyset("received_at")
    list_display = ["received_at", "source", "kind", "agent_url", "outcome", "delivery", "asked_for"]
    list_filter = ["outcome"]
    search_fields = ["pk"]
    search_help_text = "A delivery's id, as its source or as Assay calls it, or an agent's address, in full."

    @admin.display(description="delivery")
    def delivery(self, delivery: WebhookDelivery) -> str:
        return delivery.delivery_id

    @admin.display(description="job")
    def asked_for(self, delivery: WebhookDelivery) -> str:
        return str(delivery.job_id or "")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookDelivery], search_term: str
    ) -> tuple[QuerySet[WebhookDelivery], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            pass
        else:
            return queryset.filter(Q(pk=key) | Q(delivery_id=term)), False
        try:
            return queryset.filter(agent_url=normalize_agent_url(term)), False
        except InvalidAgentURL:
            return queryset.filter(delivery_id=term), False
