"""A stand-in for the runners' poll, and views that need what a web server must do."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from compliance.runners.waiting import WAIT, Wait

TAKE = """
    DELETE FROM work WHERE id IN (
        SELECT id FROM work WHERE key = ANY(%s) AND kind = ANY(%s) ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING what
"""


@csrf_exempt
def poll(request: HttpRequest) -> HttpResponse:
    """Work for the keys of the body, or an answer that may be held."""
    asked = json.loads(request.body or b'{"keys": ["runner:1"]}')
    keys = asked["keys"]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO asked (name) VALUES (%s)", [asked.get("name", "")])
        cursor.execute(TAKE, [keys, asked.get("kinds", ["any"]), asked.get("at_most", 1)])
        work = [what for (what,) in cursor.fetchall()]
    if asked.get("gate") is not None:
        # Between "there is nothing" and the answer, for as long as the test likes.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s), pg_advisory_unlock(%s)", [asked["gate"]] * 2)
    wait = request.META.get(WAIT) or Wait()
    if not work:
        wait.keys = keys
    return JsonResponse({"work": work, "waited": wait.waited_seconds or None})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    digest = hashlib.sha256()
    size = 0
    while piece := request.read(65536):
        digest.update(piece)
        size += len(piece)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})


def where(request: HttpRequest) -> HttpResponse:
    """Who answers: process, thread, and the thread's database connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    return JsonResponse(
        {
            "process": os.getpid(),
            "thread": threading.get_ident(),
            "backend": backend,
            "meta": request.META["REMOTE_ADDR"],
        }
    )


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(int(request.GET["lines"])):
            yield f"{number},line\r\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * 1_000_000 * int(request.GET["megabytes"]), content_type="text/plain")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("broken on purpose")


urlpatterns = [
    path("poll", poll),
    path("upload", upload),
    path("where", where),
    path("streamed", streamed),
    path("large", large),
    path("broken", broken),
]
