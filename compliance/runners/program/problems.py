"""What can be wrong, in words for whoever runs the program, and what the program's exit says of it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes. Those from 2 to 6 stay the same until somebody mends something; systemd need not try again."""

    OK = 0  # --once: everything done; stopped by a signal: everything finished, handed back or kept for the next start
    BROKEN = 1  # a fault of the program itself
    USAGE = 2  # options, the allow-list or the secrets file
    TOKEN = 3  # missing, unreadable, malformed, unknown, expired, revoked or not allowed
    STATE = 4  # the state folder is not writable, or another runner uses it
    ENGINES = 5  # no engine can run here
    VERSION = 6  # this program and the server do not understand each other
    SERVER = 7  # not reachable, not trusted or not Assay
    UNDELIVERED = 8  # --once: results are kept in the state folder, because the server did not take them


class Problem(Exception):
    """Something that a person has to remedy: what is wrong, how to remedy it, and the exit code."""

    def __init__(self, exit_code: Exit, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.exit_code = exit_code
        self.what = what
        self.remedy = remedy
