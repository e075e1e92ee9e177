"""`uv run manage.py procrastinate`: as it comes, but for a worker that nobody asked to end, which ends with a code."""

import asyncio
import signal
from typing import Any

from procrastinate import App, cli, exceptions
from procrastinate.contrib.django.management.commands import procrastinate

LOST = "The worker has lost the database, and ends. Start it again; no order is lost."


class Command(procrastinate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Exit code 0 of a worker means SIGTERM, Ctrl-C, or `--one-shot` with nothing left to do, and 1 all else."""
        if options.get("func") is cli.worker_:
            options["func"] = _worker
        super().handle(*args, **options)


async def _worker(app: App, **options: Any) -> None:
    """Left alone it ends with 0 when the database restarts, and no service manager would start it again."""
    loop, asked = asyncio.get_running_loop(), False
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask() -> None:
        nonlocal asked
        asked = True
        for number in signals:
            # A second one ends it at once.
            loop.remove_signal_handler(number)
        work.cancel()

    work = asyncio.ensure_future(cli.worker_(app, install_signal_handlers=False, **options))
    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        await work
    except asyncio.CancelledError:
        # So it lets what runs come to its end.
        if not asked:
            raise
    except exceptions.ConnectorException as error:
        # It was just about to fetch a job.
        raise RuntimeError(LOST) from error
    if not asked and options.get("wait", True):
        raise RuntimeError(LOST)
