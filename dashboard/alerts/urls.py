"""Notices: under /o/<organization>/notices/."""

from __future__ import annotations

from django.urls import path

from dashboard.alerts import views

urlpatterns = [
    path("", views.notices, name="notices"),
    path("read/", views.notices_read, name="notices_read"),
    path("<id:notice>/read/", views.notice_read, name="notice_read"),
]
