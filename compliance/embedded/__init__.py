"""PostgreSQL and Redis from wheels, and the supervisor behind `make run`. Imports no Django."""

from compliance.embedded.servers import AlreadyRunning, Services, services

__all__ = ["AlreadyRunning", "Services", "services"]
