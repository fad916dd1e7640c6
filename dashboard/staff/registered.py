"""What the staff site shows. Importing this registers it."""

from dashboard.staff import engines, monitors, registry, runners, runs, suites, tenancy, users, webhooks
from dashboard.staff import jobs as requests

__all__ = ["engines", "monitors", "registry", "requests", "runners", "runs", "suites", "tenancy", "users", "webhooks"]
