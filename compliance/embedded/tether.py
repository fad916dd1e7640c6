"""Become a program that dies with its parent, and optionally runs as another user.

Run as a script: tether.py SIGNAL PARENT_PID UID:GID|- PROGRAM ARGUMENT...

A separate exec instead of a function between fork and exec, because the latter may deadlock in a parent with threads.
The kernel forgets the death signal when a process changes its user, so the order below matters.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    death_signal, parent, user, program = int(argv[0]), int(argv[1]), argv[2], argv[3:]
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    try:
        os.execvp(program[0], program)  # noqa: S606 - replacing this process, with no shell, is the point
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
