"""Deliveries of inbound webhooks."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet

from compliance.models import WebhookDelivery
from compliance.pagination import Keyset
from dashboard.staff.base import ExactSearch
from dashboard.staff.history import HistoryAdmin


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ExactSearch, HistoryAdmin):
    """Every delivery whose signature was right, newest first, as long as they are kept."""

    keyset = Keyset("received_at")
    list_display = ["received_at", "source", "kind", "agent_url", "outcome", "delivery", "job"]
    list_filter = ["outcome"]
    organization_field = ""
    agent_field = "agent_url"
    search_help_text = "A delivery's id, its source's or Assay's own, or an agent's URL, in full."

    @admin.display(description="delivery")
    def delivery(self, delivery: WebhookDelivery) -> str:
        return delivery.delivery_id

    @admin.display(description="job")
    def job(self, delivery: WebhookDelivery) -> str:
        return str(delivery.job_id or "")

    def find_key(self, queryset: QuerySet[WebhookDelivery], key: UUID) -> QuerySet[WebhookDelivery]:
        return queryset.filter(Q(pk=key) | Q(delivery_id=str(key)))

    def find_other(self, queryset: QuerySet[WebhookDelivery], term: str) -> QuerySet[WebhookDelivery]:
        return queryset.filter(delivery_id=term)
