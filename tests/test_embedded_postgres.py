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
    users = tmp_path / ".handle_pids.json"
    users.write_text(json.dumps([ended.pid, os.getpid()]))
    embedded_postgres._forget_the_dead(tmp_path)
    assert json.loads(users.read_text()) == [os.getpid()]


def test_lock_belongs_to_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "home", lambda: tmp_path)
    library = embedded_postgres._server_library()
    assert Path(os.fsdecode(library.postgres_server.PostgresServer._lock.path)).parent == tmp_path
    monkeypatch.undo()
    embedded_postgres._server_library()
