"""The staff site: Django's admin, in which every request that reads is a recorded look across organizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from compliance.models import User
from compliance.tenancy.scope import system_scope
from dashboard.staff import access as look

View = Callable[..., HttpResponseBase]


def reads_nothing(view: Any) -> Any:
    """Mark a staff view that touches no organization's data, and so needs no reason."""
    view.reads_nothing = True
    return view


class StaffSite(AdminSite):
    site_header = "Assay staff"
    site_title = "Assay staff"
    index_title = "Staff"
    enable_nav_sidebar = False
    empty_value_display = "–"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # It would walk everything that hangs on the rows it deletes, and list it.
        self.disable_action("delete_selected")

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]
        """The view for staff only, run and rendered inside a recorded look."""

        def looking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if settings.STAFF_REQUIRES_MFA and not is_mfa_enabled(request.user):
                messages.warning(
                    request, "Staff need two-factor authentication: set it up to open the staff site."
                )
                return redirect("mfa_activate_totp")
            if getattr(view, "reads_nothing", False):
                return view(request, *args, **kwargs)
            now = look.current(request)
            if now is None:
                # What was posted is lost on purpose: nobody changes anything with a reason given afterwards.
                wanted = request.get_full_path() if request.method == "GET" else ""
                address = reverse("admin:reason")
                return redirect(f"{address}?{urlencode({'next': wanted})}" if wanted else address)
            assert isinstance(request.user, User)
            with system_scope(by=request.user.as_actor(), reason=now.reason, what=_what(request)):
                response = view(request, *args, **kwargs)
                # Querysets of the page are read while it renders: that must happen inside as well.
                if isinstance(response, TemplateResponse):
                    response.render()
                return response

        looking.__name__ = getattr(view, "__name__", "view")
        if getattr(view, "csrf_exempt", False):
            looking.csrf_exempt = True  # type: ignore[attr-defined]
        guarded: View = super().admin_view(looking, cacheable)
        return guarded

    def get_urls(self) -> list[URLResolver | URLPattern]:
        own: list[URLResolver | URLPattern] = [
            path("reason/", self.admin_view(self.reason), name="reason"),
            path("reason/end/", self.admin_view(self.end_look), name="reason_end"),
        ]
        return own + super().get_urls()

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "look": look.current(request)}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Staff sign in like everybody, with the same rate limits and second factors."""
        if request.user.is_authenticated:
            if not self.has_permission(request):
                raise PermissionDenied("The staff site is for staff.")
            return redirect(self._next(request, request.GET.get("next", "")))
        wanted = request.GET.get("next") or reverse("admin:index")
        return redirect(f"{reverse('account_login')}?{urlencode({'next': wanted})}")

    @reads_nothing
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_logout")

    @reads_nothing
    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_change_password")

    @reads_nothing
    def password_change_done(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("admin:index")

    @reads_nothing
    def i18n_javascript(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().i18n_javascript(request, extra_context)

    @reads_nothing
    def reason(self, request: HttpRequest) -> HttpResponse:
        """Ask why, before anything is shown."""
        form = look.ReasonForm(request.POST or None, initial={"next": request.GET.get("next", "")})
        if request.method == "POST" and form.is_valid():
            look.begin(request, form.cleaned_data["reason"])
            return redirect(self._next(request, form.cleaned_data["next"]))
        context = {
            **self.each_context(request),
            "title": "Why are you looking?",
            "form": form,
            "minutes": settings.STAFF_LOOK_MINUTES,
        }
        return TemplateResponse(request, "staff/reason.html", context)

    @reads_nothing
    def end_look(self, request: HttpRequest) -> HttpResponse:
        """Forget the reason; the next page asks again."""
        return _end_look(request)

    def _next(self, request: HttpRequest, wanted: str) -> str:
        index = reverse("admin:index")
        safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
        return wanted if safe and wanted.startswith(index) else index


@require_POST
def _end_look(request: HttpRequest) -> HttpResponse:
    look.end(request)
    messages.success(request, "Your look has ended.")
    return redirect("admin:reason")


def _what(request: HttpRequest) -> str:
    path = request.get_full_path()
    return path if request.method == "GET" else f"{request.method} {path}"
