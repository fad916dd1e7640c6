"""Free ports on the loopback."""

import socket
from contextlib import closing

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody has now. Somebody may take it before it is used, so its user must be ready to try again."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def free_range(first: int, length: int, *, attempts: int = 200) -> int | None:
    """The lowest run of free ports at or above the first one."""
    for base in range(first, first + attempts * length, length):
        if base + length <= 65536 and all(is_free(port) for port in range(base, base + length)):
            return base
    return None
