#!/usr/bin/env python
"""Seatdesk's command line; `manage.py demo` is the first one to try."""

import os
import sys

from portal import demo_processes, embedded_postgres


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    if sys.argv[1:2] != ["demo"]:
        demo_processes.join(sys.argv)
    elif not {"-h", "--help"} & set(sys.argv):
        demo_processes.prepare(sys.argv)
    embedded_postgres.stop_without_database(sys.argv)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
