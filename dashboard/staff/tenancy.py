"""Organizations, members and invitations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from compliance.jobs.models import Job
from compliance.models import AgentContext, Invitation, Membership, Organization, Role
from compliance.tenancy.actions import refuse_without_owner
from compliance.tenancy.errors import Refused
from dashboard.staff.base import StaffAdmin


@admin.register(Organization)
class OrganizationAdmin(StaffAdmin):
    list_display = ["name", "slug", "id", "created_at"]
    search_fields = ["id__exact", "slug__startswith"]
    search_help_text = "An organization's key (org_…) in full, or the beginning of its slug."
    ordering = ["slug"]
    fields = ["name", "slug", "id", "created_at"]
    readonly_fields = ["slug", "id", "created_at"]  # links and runs name them
    delete_confirmation_template = "staff/delete_organization.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # whoever creates one becomes its owner

    def get_deleted_objects(
        self, objs: QuerySet[Organization] | Sequence[Organization], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        # Django's own would load and name every job that the organization ever had.
        keys = [organization.pk for organization in objs]
        counts = {
            "members": Membership.objects.filter(organization__in=keys).count(),
            "invitations": Invitation.objects.filter(organization__in=keys).count(),
            "agents": AgentContext.objects.filter(organization__in=keys).count(),
            "jobs under way": Job.objects.active().filter(organization__in=keys).count(),
        }
        allowed = request.user.has_perm("compliance.delete_organization")
        return [str(one) for one in objs], counts, set() if allowed else {"organization"}, []


class MembershipForm(forms.ModelForm):
    def clean_role(self) -> str:
        role: str = self.cleaned_data["role"]
        if self.instance.pk and self.initial.get("role") == Role.OWNER and role != Role.OWNER:
            try:
                refuse_without_owner(self.instance.organization_id, self.instance)
            except Refused as refused:
                raise ValidationError(str(refused)) from None
        return role


@admin.register(Membership)
class MembershipAdmin(StaffAdmin):
    form = MembershipForm
    list_display = ["user", "organization", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email__startswith", "organization__slug__startswith", "organization__id__exact"]
    search_help_text = "The beginning of an e-mail address or of an organization's slug."
    ordering = ["-id"]
    raw_id_fields = ["organization", "user"]
    fields = ["organization", "user", "role"]

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> list[str]:
        return ["organization", "user"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        if not super().has_delete_permission(request, obj):
            return False
        if obj is not None and obj.role == Role.OWNER:
            try:
                refuse_without_owner(obj.organization_id, obj)
            except Refused:
                return False
        return True


@admin.register(Invitation)
class InvitationAdmin(StaffAdmin):
    """Can be read and withdrawn. The link is not shown."""

    list_display = ["email", "organization", "role", "invited_by_name", "created_at", "expires_at", "accepted_at"]
    list_filter = ["role"]
    list_select_related = ["organization"]
    search_fields = ["email__startswith", "organization__slug__startswith"]
    search_help_text = "The beginning of an e-mail address or of an organization's slug."
    ordering = ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
