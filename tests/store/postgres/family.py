"""Signals to a server process and all its children at once."""

import os
import select
import signal
from pathlib import Path

__all__ = ["freeze", "kill", "thaw"]


def freeze(pid: int) -> list[int]:
    """Stops our child `pid` and then its children; gives them.

    The parent is stopped first, so it starts no other, and takes no notice of one that ends: none
    of the ids can become somebody else's until it goes on.
    """
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    children = _children(pid)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    return children


def thaw(pid: int) -> None:
    """Lets a family go on that was frozen; of another one, a child may end meanwhile."""
    for each in (*_children(pid), pid):
        os.kill(each, signal.SIGCONT)


def kill(pid: int) -> None:
    """Kills our child `pid` and its children with SIGKILL; returns once none of them runs."""
    waits = [os.pidfd_open(each) for each in (*freeze(pid), pid)]
    try:
        for wait in waits:
            signal.pidfd_send_signal(wait, signal.SIGKILL)
        for wait in waits:
            poll = select.poll()
            poll.register(wait, select.POLLIN)
            poll.poll()
    finally:
        for wait in waits:
            os.close(wait)


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        # The name, in parentheses, may hold anything.
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(stat.parent.name))
    return found
