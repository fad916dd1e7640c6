"""Addresses of static files, put together once: every page has eight of them, and none changes while we run."""

from __future__ import annotations

from functools import cache
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class StaticFiles(CompressedManifestStaticFilesStorage):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url_once = cache(super().url)

    def url(self, name: str, force: bool = False) -> str:
        # Collecting files (force) asks while the names are still being made.
        return super().url(name, force) if force else self.url_once(name)
