"""PostgreSQL and Redis from wheels, and the supervisor behind `make run`. Imports no Django."""
