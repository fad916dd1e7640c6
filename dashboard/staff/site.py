"""The staff site: Django's admin, in which all access to organizations' data has a reason and is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from compliance.models import User
from compliance.tenancy.scope import system_scope
from dashboard.staff import access

View = Callable[..., HttpResponseBase]


def needs_no_reason(view: Any) -> Any:
    """Mark a staff view that reads no organization's data."""
    view.needs_no_reason = True
    return view


class StaffSite(AdminSite):
    site_header = "Assay staff"
    site_title = "Assay staff"
    index_title = "Staff"
    enable_nav_sidebar = False
    empty_value_display = "–"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # It would load and list everything that refers to the rows that it deletes.
        self.disable_action("delete_selected")

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]
        """The view for staff only, run and rendered inside a recorded scope."""

        def recorded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if settings.STAFF_REQUIRES_MFA and not is_mfa_enabled(request.user):
                messages.warning(
                    request, "Staff need two-factor authentication. Set it up; the staff site opens after that."
                )
                return redirect("mfa_activate_totp")
            if getattr(view, "needs_no_reason", False):
                return view(request, *args, **kwargs)
            granted = access.current(request)
            if granted is None:
                # What was posted is lost on purpose: the reason comes before any change.
                query = f"?{urlencode({'next': request.get_full_path()})}" if request.method == "GET" else ""
                return redirect(reverse("admin:reason") + query)
            assert isinstance(request.user, User)
            try:
                with system_scope(by=request.user.as_actor(), reason=granted.reason, what=_what(request)):
                    response = view(request, *args, **kwargs)
                    # Querysets of the page are read while it renders: that must happen inside as well.
                    if isinstance(response, TemplateResponse):
                        response.render()
                    return response
            except (DataError, ValidationError) as error:
                # Django's admin looks for whatever an address or a chosen row says: also text that is no key, or NUL.
                raise Http404(f"Nothing can have such a key or value ({type(error).__name__}).") from error

        recorded.__name__ = getattr(view, "__name__", "view")
        if getattr(view, "csrf_exempt", False):
            recorded.csrf_exempt = True  # type: ignore[attr-defined]
        guarded: View = super().admin_view(recorded, cacheable)
        return guarded

    def get_urls(self) -> list[URLResolver | URLPattern]:
        own: list[URLResolver | URLPattern] = [
            path("reason/", self.admin_view(self.reason), name="reason"),
            path("reason/end/", self.admin_view(self.end_access), name="reason_end"),
        ]
        # Nothing here has a page of its own elsewhere, to which "view on site" would lead.
        return own + [each for each in super().get_urls() if getattr(each, "name", None) != "view_on_site"]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "access": access.current(request)}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Staff sign in like everybody, with the same rate limits and two-factor authentication."""
        if request.user.is_authenticated:
            if not self.has_permission(request):
                raise PermissionDenied("The staff site is for staff.")
            return redirect(self._next(request, request.GET.get("next", "")))
        target = request.GET.get("next") or reverse("admin:index")
        return redirect(f"{reverse('account_login')}?{urlencode({'next': target})}")

    @needs_no_reason
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_logout")

    @needs_no_reason
    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_change_password")

    @needs_no_reason
    def password_change_done(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("admin:index")

    @needs_no_reason
    def i18n_javascript(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().i18n_javascript(request, extra_context)

    @needs_no_reason
    def reason(self, request: HttpRequest) -> HttpResponse:
        """Ask why, before anything is shown."""
        form = access.ReasonForm(request.POST or None, initial={"next": request.GET.get("next", "")})
        if request.method == "POST" and form.is_valid():
            access.begin(request, form.cleaned_data["reason"])
            return redirect(self._next(request, form.cleaned_data["next"]))
        context = {
            **self.each_context(request),
            "title": "Why do you need access?",
            "form": form,
            "minutes": settings.STAFF_ACCESS_MINUTES,
        }
        return TemplateResponse(request, "staff/reason.html", context)

    @needs_no_reason
    @method_decorator(require_POST)
    def end_access(self, request: HttpRequest) -> HttpResponse:
        """Forget the reason; the next page asks again."""
        access.end(request)
        messages.success(request, "Your access has ended.")
        return redirect("admin:reason")

    def _next(self, request: HttpRequest, target: str) -> str:
        index = reverse("admin:index")
        safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
        return target if safe and target.startswith(index) else index


def _what(request: HttpRequest) -> str:
    path = request.get_full_path()
    return path if request.method == "GET" else f"{request.method} {path}"
