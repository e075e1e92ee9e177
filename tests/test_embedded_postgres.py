"""The embedded server's book-keeping: whom it runs for, and where it locks."""

import json
import os
import subprocess
import sys
from pathlib import Path

from portal import embedded_postgres


def test_killed_processes_do_not_keep_the_server_running(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    embedded_postgres._server_library()
    folder = tmp_path / "postgres"
    folder.mkdir()
    users = folder / ".handle_pids.json"
    users.write_text(json.dumps([ended.pid, os.getpid()]))
    embedded_postgres._forget_the_dead(folder)
    assert json.loads(users.read_text()) == [os.getpid()]


def test_a_server_that_was_killed_is_not_taken_for_the_program_that_has_its_number_now(tmp_path):
    embedded_postgres._server_library()
    folder = tmp_path / "postgres"
    folder.mkdir()
    left_behind = folder / "postmaster.pid"
    left_behind.write_text(f"{os.getpid()}\n{folder}\n1795528003\n5432\n{folder}\n\n1 1\nready\n")
    assert not embedded_postgres.is_running(tmp_path)
    embedded_postgres._forget_the_dead(folder)
    assert not left_behind.exists()


def test_lock_belongs_to_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "home", lambda: tmp_path)
    library = embedded_postgres._server_library()
    assert Path(os.fsdecode(library.postgres_server.PostgresServer._lock.path)).parent == tmp_path
    monkeypatch.undo()
    embedded_postgres._server_library()
