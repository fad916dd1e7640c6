"""Django's PostgreSQL backend, with a question less for each request."""
