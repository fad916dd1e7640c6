"""The web server: `python -m compliance.server`. It serves the loopback unless BIND says otherwise, without TLS."""

import os
import resource
from multiprocessing.resource_tracker import ensure_running

import uvicorn

from compliance.engines.process.runner import hide_from_programs

HEAD_BYTES, KEEP_ALIVE_SECONDS, STOP_SECONDS = 16_384, 30, 2


def main() -> None:
    bind = os.environ.get("BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
    host, _, port = bind.rpartition(":")
    processes = int(os.environ.get("WEB_CONCURRENCY") or 2)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    hide_from_programs()
    environment = dict(os.environ)
    os.environ.clear()  # Python's own helper of several processes stays readable to others, so it gets no keys
    ensure_running()
    os.environ.update(environment)
    uvicorn.run(
        "compliance.asgi:application",
        http="compliance.asgi:Connection",
        ws="none",
        workers=processes,
        **({"uds": bind.removeprefix("unix:")} if host == "unix" else {"host": host.strip("[]"), "port": int(port)}),
        h11_max_incomplete_event_size=HEAD_BYTES,
        limit_concurrency=files - 256,  # the rest is for databases, Redis, logs and static files
        # A process that leaks memory does not do so for ever. One alone has nobody to start it again.
        limit_max_requests=int(os.environ.get("WEB_MAX_REQUESTS") or 20_000) if processes > 1 else None,
        limit_max_requests_jitter=int(os.environ.get("WEB_MAX_REQUESTS") or 20_000) // 10,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_worker_healthcheck=30,
        proxy_headers=False,  # Django reads what a proxy adds, if the settings name one
        server_header=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
