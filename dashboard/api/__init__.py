"""The API under /api/v1/: what programs of an organization, and its private runners, may ask and do."""
