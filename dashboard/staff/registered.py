"""What the staff site shows. Importing this registers it."""

from dashboard.staff import engines, monitors, registry, requests, runners, runs, suites, tenancy, users, webhooks

__all__ = ["engines", "monitors", "registry", "requests", "runners", "runs", "suites", "tenancy", "users", "webhooks"]
