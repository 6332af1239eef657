# SPDX-License-Identifier: GPL-2.0-only
"""A private PostgreSQL for several masters: started, hurt and stopped by its handle.

It shares nothing with a cluster that the machine may run: its files are in a directory of the
caller's, and it listens on a socket that only the caller can reach.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.sandbox.confined import Confined, without_privilege

USER: Final = "buildbot"
DATABASE: Final = "postgres"  # each cluster has it
PORT: Final = 5432  # only part of the socket's name: nothing listens on it

SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(PORT),
    "fsync": "off",  # it does not outlive the machine
    "max_connections": "200",
    "dynamic_shared_memory_type": "mmap",  # files in the cluster, and not in /dev/shm
    "log_min_messages": "log",
}


class PrivatePostgreSQL:
    """A PostgreSQL server with a separate cluster.

    :param directory: receives the cluster and ``postgresql.log``; made if need be, and kept.
    :param settings: more of ``postgresql.conf``.
    :param sockets: where the directory of its socket is made, by default the temporary directory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        sockets: Path | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self._settings = dict(settings or {})
        self._parent = sockets
        self._sockets: Path | None = None
        self._server: Confined | None = None

    @property
    def url(self) -> str:
        """What SQLAlchemy connects to; the same from the first start to the end of the context."""
        return f"postgresql+psycopg2://{USER}@/{DATABASE}?host={self.socket.parent}"

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        if self._sockets is None:
            raise RuntimeError("this PostgreSQL has not been started")
        return self._sockets / f".s.PGSQL.{PORT}"

    @property
    def pid(self) -> int:
        """The process whose descendants are all of the server's."""
        if self._server is None:
            raise RuntimeError("this PostgreSQL does not run")
        return self._server.pid

    @property
    def log(self) -> Path:
        """The file with its messages."""
        return self.directory / "postgresql.log"

    def start(self) -> None:
        """Start it, with an empty cluster the first time; return when it answers.

        :raises ConfigurationError: PostgreSQL is not installed.
        :raises HostError: it did not come up.
        """
        if self._sockets is None:
            self._sockets = Path(tempfile.mkdtemp(prefix="llv-", dir=self._parent))
        cluster = self.directory / "cluster"
        if not cluster.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            _make(cluster)
        settings = SETTINGS | self._settings | {"unix_socket_directories": str(self._sockets)}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._server = Confined([program("postgres"), "-D", str(cluster), *options], log=self.log)
        self._server.wait_until(self._answers)

    def stop(self) -> None:
        """Stop it as ``systemctl stop`` does: sessions are ended, what was committed is safe."""
        if self._server is not None:
            self._server.stop(signal.SIGINT)
        self._server = None

    def kill(self) -> None:
        """Kill it like a power cut; the next start recovers."""
        if self._server is not None:
            self._server.kill()
        self._server = None

    def restart(self) -> None:
        """Stop it, and start it again with what it holds."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def _end(self) -> None:
        self.stop()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets = None

    def _answers(self) -> bool:
        ask = [program("pg_isready"), "--quiet", "--host", str(self.socket.parent)]
        return subprocess.run(ask, check=False).returncode == 0


def _make(cluster: Path) -> None:
    # Anyone who reaches the socket is let in: its directory is the caller's alone.
    how = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync"]
    without_privilege([program("initdb"), "--pgdata", str(cluster), *how])


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps them off ``PATH``.

    :raises ConfigurationError: it is not installed.
    """
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    for folder in sorted(versions, key=lambda path: float(path.parent.name), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"PostgreSQL's program {name} is not installed",
            resolution="install the package postgresql",
        )
    return found
