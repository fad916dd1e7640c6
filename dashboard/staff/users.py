"""Users."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from compliance.models import User
from dashboard.staff.base import StaffAdmin
from dashboard.staff.confirm import ask, confirmed, log_change


@admin.register(User)
class UserAdmin(StaffAdmin):
    """People sign up and choose their passwords themselves; an account is deactivated, never deleted."""

    list_display = ["email", "name", "is_active", "is_staff", "is_superuser", "last_login", "date_joined"]
    list_filter = ["is_staff", "is_superuser", "is_active"]
    search_fields = ["email__startswith"]
    search_help_text = "The beginning of an e-mail address."
    ordering = ["-id"]
    fields = ["email", "name", "is_active", "is_staff", "is_superuser", "last_login", "date_joined"]
    readonly_fields = ["email", "last_login", "date_joined"]
    actions = ["reset_two_factor"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an organization could be left without an owner

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # Otherwise somebody who may change users could deactivate, or lock out, those above them.
        if obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        # Nobody gives themselves, or others, more rights than they have.
        extra = [] if request.user.is_superuser else ["is_staff", "is_superuser"]
        if obj is not None and obj.pk == request.user.pk:
            extra = ["is_active", "is_staff", "is_superuser"]
        return [*self.readonly_fields, *extra]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        return super().get_search_results(request, queryset, search_term.lower())

    @admin.action(description="Reset two-factor authentication (lost phone)", permissions=["change"])
    def reset_two_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        chosen = [user for user in queryset[:100] if self.has_change_permission(request, user)]
        if not confirmed(request):
            return ask(
                self,
                request,
                action="reset_two_factor",
                question="Reset these people's two-factor authentication?",
                consequence="A password alone signs them in until they set it up again."
                " Be sure that it is they who ask.",
                rows=[(user.pk, user.email) for user in chosen],
            )
        Authenticator.objects.filter(user__in=chosen).delete()
        log_change(request, chosen, "Two-factor authentication reset.")
        self.message_user(request, f"Two-factor authentication reset: {len(chosen)}.", messages.SUCCESS)
        return None
