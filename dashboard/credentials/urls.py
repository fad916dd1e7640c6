"""Credentials: under /o/<organization>/credentials/."""

from __future__ import annotations

from django.urls import path

from dashboard.credentials import access_log, views

urlpatterns = [
    path("", views.credentials, name="credentials"),
    path("add/", views.credential_add, name="credential_add"),
    path("access/", access_log.access, name="credential_access"),
    path("access.csv", access_log.access_csv, name="credential_access_csv"),
    path("<id:credential>/", views.credential, name="credential"),
    path("<id:credential>/replace/", views.credential_replace, name="credential_replace"),
    path("<id:credential>/delete/", views.credential_delete, name="credential_delete"),
    path("<id:credential>/grant/", views.grant_add, name="grant_add"),
    path("grants/<id:grant>/revoke/", views.grant_revoke, name="grant_revoke"),
]
