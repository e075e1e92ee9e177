"""Real worker processes on the test database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo


def database_url() -> str:
    """The test database as a connection string, which is what a process of its own is told."""
    told = connection.settings_dict
    parts = {"dbname": told["NAME"], "user": told["USER"], "password": told["PASSWORD"], "host": told["HOST"]}
    parts |= {"port": told["PORT"], **told["OPTIONS"]}
    return make_conninfo(**{name: value for name, value in parts.items() if value})


class WorkerProcess:
    """`manage.py procrastinate worker`; `kill_at` is for `tests.faults.gateway`."""

    def __init__(self, endpoint: str, log: Path, *, kill_at: str = "", module: str = "tests.faults.settings") -> None:
        environment = os.environ | {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": module,
            # Keys and waits of the tests; the process itself knows nothing of pytest.
            "SEATDESK_DEMO": "1",
            "WAIT_SCALE": str(settings.WAIT_SCALE),
            "UPKEEP_CRON": settings.UPKEEP_CRON,
            "KASPERSKY_ENDPOINT": endpoint,
            "KILL_AT": kill_at,
        }
        self.kill_at = kill_at
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "procrastinate", "worker"],
                cwd=settings.BASE_DIR, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def was_killed(self) -> bool:
        return self._process.poll() == -signal.SIGKILL

    def stop(self, patience: float = 15.0) -> int:
        """SIGTERM, as a service manager sends it; returns the exit code."""
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def wait_until(true: Callable[[], bool], *, seconds: float, every: float = 0.1) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(every)
