"""Jobs: under /o/<organization>/jobs/."""

from __future__ import annotations

from django.urls import path

from dashboard.jobs import views

urlpatterns = [
    path("<id:job>/", views.job_detail, name="job"),
    path("<id:job>/cancel/", views.job_cancel, name="job_cancel"),
]
