"""The addresses of the whole program."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("api/", include("dashboard.api.urls")),
    path("staff/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("dashboard.urls")),
]
