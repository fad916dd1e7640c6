"""The program's log: lines for people or JSON for machines, and never a secret in either."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from compliance.engines.http.redaction import Redactor

_CAP = 64 * 1024  # bytes of one payload; lines are far shorter


class SecretFilter:
    """Every secret that the program has come to know, and texts without them."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._redactor = Redactor((), _CAP)

    def add(self, secrets: Iterable[str]) -> None:
        new = {secret for secret in secrets if secret} - self._secrets
        if new:
            self._secrets |= new
            self._redactor = Redactor(sorted(self._secrets), _CAP)

    def hide(self, text: str) -> str:
        return self._redactor.text(text)


class _Lines(logging.Formatter):
    def __init__(self, secret_filter: SecretFilter) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._secret_filter = secret_filter

    def format(self, record: logging.LogRecord) -> str:
        return self._secret_filter.hide(super().format(record))


class _Json(logging.Formatter):
    def __init__(self, secret_filter: SecretFilter) -> None:
        super().__init__()
        self._secret_filter = secret_filter

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._secret_filter.hide(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self._secret_filter.hide(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def set_up(secret_filter: SecretFilter, *, as_json: bool) -> None:
    """Log to standard error, which systemd and containers keep."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(secret_filter) if as_json else _Lines(secret_filter))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # of the libraries; they log every request at a lower level
    logging.getLogger("compliance").setLevel(logging.INFO)
