"""Jobs: under /o/<organization>/jobs/."""

from __future__ import annotations

from django.urls import path

from dashboard.jobs import views

urlpatterns = [
    path("<uuid:job>/", views.job_detail, name="job"),
    path("<uuid:job>/cancel/", views.job_cancel, name="job_cancel"),
]
