"""The guides: under /docs/."""

from __future__ import annotations

from django.urls import path

from dashboard.docs import views

urlpatterns = [
    path("", views.guide_index, name="guides"),
    path("<slug:name>/", views.guide_page, name="guide"),
    path("<slug:name>.md", views.guide_text, name="guide_text"),
]
