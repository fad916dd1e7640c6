"""Keys: time-ordered, so that an index on them grows at one end."""

from __future__ import annotations

import uuid

import uuid_utils

ORGANIZATION_ID_PATTERN = r"^org_[A-Za-z0-9_-]{1,64}$"


def uuid7() -> uuid.UUID:
    """A new UUID version 7."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def new_organization_id() -> str:
    """A new organization key of our own making; keys of a foreign identity system have the same shape."""
    return f"org_{uuid7().hex}"
