"""Death on order, for worker processes of the fault tests only.

`KILL_AT=point:n` lets the process be killed when it passes that point for the n-th time. Nothing gets a chance to
clean up: the signal is the one that a machine out of memory sends.
"""

import os
import signal
import threading
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from subscriptions.vendors.kaspersky import transport
from subscriptions.vendors.kaspersky.gateway import KasperskyGateway
from subscriptions.vendors.port import Answer, Container

POINTS = ("before-sending", "after-sending", "after-answer", "before-commit", "after-commit")

_point, _, _nth = os.environ.get("KILL_AT", "").partition(":")
_lock = threading.Lock()
_passed = 0


def passing(point: str) -> None:
    global _passed
    if point != _point:
        return
    with _lock:
        _passed += 1
        if _passed == int(_nth):
            os.kill(os.getpid(), signal.SIGKILL)


class KillingGateway(KasperskyGateway):
    def send(self, container: Container, *, within: float | None = None) -> list[Answer]:
        passing("before-sending")
        answers = super().send(container, within=within)
        passing("after-answer")
        return answers


# The request has left when the stream is read for the first time; nothing nearer to the wire can be subclassed.
_read = transport._Stream.read
_commit = BaseDatabaseWrapper._commit


def _read_or_die(self: Any, *arguments: Any, **named: Any) -> bytes:
    passing("after-sending")
    return _read(self, *arguments, **named)


def _commit_or_die(self: Any) -> None:
    passing("before-commit")
    _commit(self)
    passing("after-commit")


if _point:
    # Only in a process that is to die: pytest itself imports this module for its names.
    transport._Stream.read = _read_or_die
    BaseDatabaseWrapper._commit = _commit_or_die
