"""What the staff site shows. Importing this registers it."""

from dashboard.staff import registry, requests, runs, suites, tenancy, users

__all__ = ["registry", "requests", "runs", "suites", "tenancy", "users"]
