# SPDX-License-Identifier: GPL-2.0-only
"""A PostgreSQL and a router of one's own: they come, are hurt, and leave nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from buildmaster import wait_for
from latent_libvirt.errors import HostError
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter


def ask(postgresql: PrivatePostgreSQL, *statements: str) -> object:
    """Return what the last of *statements* gives."""
    engine = sa.create_engine(postgresql.url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        for statement in statements[:-1]:
            connection.execute(sa.text(statement))
        return connection.execute(sa.text(statements[-1])).scalar()


def processes_below(directory: Path) -> list[str]:
    """Return the command lines of all processes that name *directory*."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line and str(os.getpid()) != entry.parent.name:
            lines.append(line)
    return lines


def test_a_postgresql_keeps_what_it_holds_however_it_ends(tmp_path: Path) -> None:
    with PrivatePostgreSQL(tmp_path / "postgresql") as postgresql:
        sockets = postgresql.socket.parent
        assert sockets.stat().st_mode & 0o077 == 0
        assert ask(postgresql, "CREATE TABLE t AS SELECT 7 AS n", "SELECT n FROM t") == 7
        postgresql.restart()
        assert ask(postgresql, "INSERT INTO t VALUES (8)", "SELECT max(n) FROM t") == 8
        postgresql.kill()
        with pytest.raises(sa.exc.OperationalError):
            ask(postgresql, "SELECT 1")
        postgresql.start()
        assert ask(postgresql, "SELECT max(n) FROM t") == 8

    assert not sockets.exists()
    assert processes_below(tmp_path) == []


def test_a_postgresql_has_no_shared_memory_that_could_outlive_it(tmp_path: Path) -> None:
    with PrivatePostgreSQL(tmp_path / "postgresql") as postgresql:
        lines = (tmp_path / "postgresql/cluster/postmaster.pid").read_text().splitlines()
        key = lines[6].split()[0]
        segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]

        assert key not in {segment.split()[0] for segment in segments}
        assert ask(postgresql, "SHOW dynamic_shared_memory_type") == "mmap"


HOLD = """
import sys, time
from pathlib import Path
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
postgresql = PrivatePostgreSQL(Path(sys.argv[1]))
postgresql.start()
print(postgresql.socket.parent, flush=True)
time.sleep(600)
"""


def test_a_server_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "postgresql")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    sockets = Path(holder.stdout.readline().decode().strip())
    assert processes_below(tmp_path)

    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()

    wait_for("the server to end", lambda: not processes_below(tmp_path))
    shutil.rmtree(sockets)  # nobody is left who could


def test_a_postgresql_that_cannot_start_says_why(tmp_path: Path) -> None:
    postgresql = PrivatePostgreSQL(tmp_path)
    with postgresql:
        pass
    (tmp_path / "cluster/PG_VERSION").write_text("1\n")

    with pytest.raises(HostError, match="postgres has ended") as failed, postgresql:
        pass

    assert "PG_VERSION" in str(failed.value) or "version" in str(failed.value)


def test_a_router_comes_back_at_the_same_address(tmp_path: Path, cache: Path) -> None:
    with PrivateRouter(tmp_path / "router", environment=cache / "crossbar-venv") as router:
        url = router.url
        router.stop()
        router.start()
        router.freeze()
        router.kill()
        router.start()
        assert router.url == url

    assert processes_below(tmp_path) == []
