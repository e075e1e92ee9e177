"""The Django project. Importing it reads `.env`, so that the database is known before the settings are read."""

from pathlib import Path

import environ

_DOT_ENV = Path(__file__).resolve().parent.parent / ".env"
if _DOT_ENV.is_file():
    environ.Env.read_env(_DOT_ENV)
