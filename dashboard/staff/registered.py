"""What the staff site shows. Importing this registers it."""

from dashboard.staff import engines, jobs, monitors, registry, runners, runs, suites, tenancy, users, webhooks

__all__ = ["engines", "jobs", "monitors", "registry", "runners", "runs", "suites", "tenancy", "users", "webhooks"]
