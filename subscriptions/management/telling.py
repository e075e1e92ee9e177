"""What commands have in common: lines for people and for pipes, progress where somebody looks on, and exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from django_rich.management import RichCommand
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

MISUSED, INTERRUPTED = 2, 130
"""Exit codes: asked for the impossible, and Ctrl-C. That something failed is 1."""


class Reached(Protocol):
    def __call__(self, done: int, total: int | None = None) -> None: ...


class TellingCommand(RichCommand):
    def _say(self, line: str) -> None:
        """A line as it is: what was found may hold what looks like markup, and addresses must survive being copied."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _progress(self, words: str, total: int | None) -> Iterator[Reached]:
        """A bar on a terminal, moved by calling what it gives; nothing elsewhere, and nothing that stays."""
        with Progress(
            TextColumn(words), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        ) as progress:  # fmt: skip
            task = progress.add_task("", total=total)
            yield lambda done, total=None: progress.update(task, completed=done, total=total)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")
