"""Checks of listing tasks: pages, their order, and what they hold. They change nothing, and read little."""

from __future__ import annotations

from typing import Any

from a2a.types.a2a_pb2 import ListTasksResponse

from compliance.engines.reports.builder import StepResult
from compliance.engines.suites.a2a.message_schema import SERIALIZATION, STRUCTURE
from compliance.engines.suites.a2a.session import Session, check_shape, first_flaw, performs


async def _list(session: Session, step: StepResult, **params: Any) -> dict[str, Any] | None:
    """A page of tasks; None when there is none, which the step then says. Small: they are somebody's."""
    asked = {"pageSize": 5, "historyLength": 0, **params}
    answer = await session.ask(step, "ListTasks", asked)
    if session.locked_out(step, answer):
        return None
    if not answer.has_result or not isinstance(answer.result, dict):
        step.failed(answer.words if not answer.has_result else "The result is not an object", at=answer.root)
        return None
    session.seen["list_root"] = answer.root
    return answer.result


def _tasks(page: dict[str, Any]) -> list[dict[str, Any]]:
    tasks = page.get("tasks")
    return [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []


@performs("listing/page")
async def _list_page(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step)) is None:
        return
    flaw = first_flaw(ListTasksResponse.DESCRIPTOR, page, STRUCTURE)
    if flaw is not None:
        step.failed(str(flaw), at=session.seen["list_root"] + flaw.at)
    elif len(_tasks(page)) > 5:
        step.failed(f"{len(_tasks(page))} tasks on a page of 5", at=f"{session.seen['list_root']}/tasks")
    else:
        step.passed(f"A page with {len(_tasks(page))} of {page.get('totalSize')} tasks")


@performs("listing/serialized")
async def _list_serialized(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step)) is not None:
        check_shape(step, ListTasksResponse.DESCRIPTOR, page, session.seen["list_root"], SERIALIZATION)


@performs("listing/token")
async def _list_token(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step)) is None:
        return
    token = page.get("nextPageToken")
    root = session.seen["list_root"]
    if not isinstance(token, str):
        step.failed("The page has no nextPageToken", at=f"{root}/nextPageToken")
    elif not token and isinstance(page.get("totalSize"), int) and page["totalSize"] > len(_tasks(page)):
        step.failed(f"It is empty although there are {page['totalSize']} tasks", at=f"{root}/nextPageToken")
    else:
        step.passed("Empty, as there are no more" if not token else "Names the next page")


@performs("listing/order")
async def _list_order(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step)) is None:
        return
    times = [task["status"].get("timestamp") for task in _tasks(page) if isinstance(task.get("status"), dict)]
    texts = [time for time in times if isinstance(time, str)]
    if len(texts) < 2:
        step.silent("Fewer than two tasks are listed: there is no order to see")
        return
    keys = [_instant(text) for text in texts]
    wrong = next((i for i in range(1, len(keys)) if keys[i] > keys[i - 1]), None)
    if wrong is None:
        step.passed(f"{len(texts)} tasks, newest first")
    else:
        pointer = f"{session.seen['list_root']}/tasks/{wrong}/status/timestamp"
        step.failed(f"Task {wrong + 1} is newer than the one before it", at=pointer)


def _instant(text: str) -> tuple[str, str]:
    whole, _, rest = text.rstrip("Z").partition(".")
    return whole, rest.ljust(9, "0")


@performs("listing/artifacts")
async def _list_artifacts(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step)) is None:
        return
    tasks = _tasks(page)
    wrong = next((i for i, task in enumerate(tasks) if "artifacts" in task), None)
    if not tasks:
        step.silent("No task is listed: there is nothing to see")
    elif wrong is not None:
        pointer = f"{session.seen['list_root']}/tasks/{wrong}/artifacts"
        step.failed("Artifacts are listed although nobody asked for them", at=pointer)
    else:
        step.passed("Tasks are listed without artifacts")


@performs("listing/cursor")
async def _list_cursor(session: Session, step: StepResult) -> None:
    if (page := await _list(session, step, pageSize=1)) is None:
        return
    root, token = session.seen["list_root"], page.get("nextPageToken")
    if len(_tasks(page)) > 1:
        step.failed(f"{len(_tasks(page))} tasks on a page of 1", at=f"{root}/tasks/1")
        return
    if not isinstance(token, str) or not token or not _tasks(page):
        step.silent("All tasks are on one page: there is no next one to see")
        return
    first = _tasks(page)[0].get("id")
    if (following := await _list(session, step, pageSize=1, pageToken=token)) is None:
        return
    if any(task.get("id") == first for task in _tasks(following)):
        step.failed("The next page shows the same task again", at=f"{root}/tasks/0/id")
    else:
        step.passed("The token leads to the next page")
