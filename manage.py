#!/usr/bin/env python
"""Seatdesk's command line; `manage.py demo` is the first one to try."""

import os
import sys


def main() -> None:
    from portal import demo_processes, embedded_postgres

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    if sys.argv[1:2] != ["demo"]:
        demo_processes.join(sys.argv)
    elif not {"-h", "--help"} & set(sys.argv):
        demo_processes.prepare(sys.argv)
    embedded_postgres.stop_without_database(sys.argv)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def _main_or_sentence() -> None:
    try:
        from django.core.exceptions import ImproperlyConfigured

        try:
            main()
        except ImproperlyConfigured as mistaken:
            sys.exit(f"{mistaken} Settings come from the environment or from the file .env.")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    _main_or_sentence()
