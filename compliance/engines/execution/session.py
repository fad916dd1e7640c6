"""How a run ends, whatever happens in it: engines that talk to an agent themselves share this."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable

from compliance.engines.reports.builder import OutOfTime, PolicyRefused, ReportBuilder, Unable

log = logging.getLogger(__name__)

_GRACE = 5.0  # for closing a session; every exchange ends by the deadline on its own


async def run_session(run: ReportBuilder, conversation: Awaitable[None], engine: str) -> None:
    """Await the conversation. Whatever ends it early is noted on the run and never raised (R7)."""
    try:
        async with asyncio.timeout(max(run.http.remaining, 0) + _GRACE):
            await conversation
    except (OutOfTime, TimeoutError):
        run.truncated = True
    except PolicyRefused as refused:
        run.refused = True
        run.harness_error = f"Assay does not test this address ({refused})"
        run.notice("refused", "Private and reserved addresses are not tested unless Assay's operator allows them")
    except Unable as unable:
        run.harness_error = str(unable)
    except Exception as error:  # noqa: BLE001
        # Whatever it is, it is ours: the report says so, and never that the agent failed (R7).
        # The innermost place, and not the message, which may quote the agent.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error("The %s engine broke: %s at %s:%s", engine, type(error).__name__, frame.filename, frame.lineno)
        run.harness_error = f"{type(error).__name__} in the {engine} engine"
