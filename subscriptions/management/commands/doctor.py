"""`uv run manage.py doctor`: is everything there that the portal needs, and how is it mended?"""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management import CommandError
from django_rich.management import RichCommand

from portal import doctor
from portal.doctor import Finding, State

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}


class Command(RichCommand):
    help = (
        "Look at settings, database, worker, vendor, certificate, clock and mail, and say how to mend what is found. "
        "Nothing is changed, no order is sent and no mail; what is down is said, and the rest is looked at. Exit code "
        "1 when there is a problem."
    )
    # They are a part of what it says, and must not keep it from saying the rest.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")

    def handle(self, *, json: bool, **options: Any) -> None:
        findings = []
        for one in doctor.examine():
            findings.append(one)
            if not json:
                self._say(one)
        problems = sum(one.state == State.PROBLEM for one in findings)
        if json:
            self._print_json(findings)
        if problems:
            raise CommandError(f"{problems} {'problem' if problems == 1 else 'problems'}.")

    def _say(self, one: Finding) -> None:
        # Found things hold paths and words of others, which must not be taken for markup.
        self.console.print(f"{one.state:<8}", style=_STYLES[one.state], end="")
        self.console.print(f" {one.area:<12} {one.what}", markup=False, highlight=False, soft_wrap=True)
        if one.mend:
            self.console.print(f"{'':21} -> {one.mend}", markup=False, highlight=False, soft_wrap=True)

    def _print_json(self, findings: list[Finding]) -> None:
        ok = all(one.state != State.PROBLEM for one in findings)
        told = {"ok": ok, "findings": [asdict(one) for one in findings]}
        self.stdout.write(json.dumps(told, indent=2))
