"""Web server: loopback only unless BIND says otherwise; a proxy in front of it terminates TLS."""

import gc
import os
from typing import Any

bind = os.environ.get("BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "compliance.web.worker.WaitingWorker"  # gthread, which also lets private runners wait without a thread
threads = int(os.environ.get("WEB_THREADS") or 4)
timeout = 30
graceful_timeout = 2
keepalive = 30
max_requests = 20_000  # a worker that leaks memory does not do so for ever
max_requests_jitter = 2_000
accesslog = None
errorlog = "-"
control_socket_disable = True  # nobody uses it, and two projects of one user would share its path
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - a disk may stall its file


def on_starting(server: Any) -> None:
    """Keep the keys in the environment from what engines start on the same machine; the workers inherit it."""
    from compliance.engines.process.runner import hide_from_programs

    hide_from_programs()


def post_worker_init(worker: Any) -> None:
    """What was loaded stays for good: the collector need not look at it again and again, once a request or more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
