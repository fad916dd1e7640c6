"""What a worker does beside its tasks: it says which engines it has.

Not a task of the beat's: that would reach one worker, and wait behind the tests that are running.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery.signals import worker_ready, worker_shutdown
from django.conf import settings
from django.db import DatabaseError, connections

from compliance.suites.health import forget_engine_health, record_engine_health

logger = logging.getLogger(__name__)

_ended = threading.Event()
_reporters: list[threading.Thread] = []
_LAST_WORD_SECONDS = 2.0


@worker_ready.connect
def start_reporting_health(sender: Any, **kwargs: Any) -> None:
    """Record this worker's engines now, and every minute until it ends."""
    _ended.clear()
    reporter = threading.Thread(target=_report_health, args=(str(sender.hostname),), name="engine health", daemon=True)
    _reporters.append(reporter)
    reporter.start()


@worker_shutdown.connect
def stop_reporting_health(sender: Any, **kwargs: Any) -> None:
    """Withdraw the record: nobody should wait for this worker's engines."""
    _ended.set()
    while _reporters:
        _reporters.pop().join(_LAST_WORD_SECONDS)


def _report_health(worker: str) -> None:
    while not _ended.is_set():
        _tolerating(record_engine_health, worker)
        _ended.wait(settings.ENGINE_HEALTH_EVERY_SECONDS)
    _tolerating(forget_engine_health, worker)


def _tolerating(action: Callable[[str], object], worker: str) -> None:
    try:
        action(worker)
    except DatabaseError as error:
        # The next round comes in a minute; until then the last word counts.
        logger.warning("the engines of %s are not on record: %s", worker, type(error).__name__)
    finally:
        connections.close_all()
