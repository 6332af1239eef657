# SPDX-License-Identifier: GPL-2.0-only
"""A PostgreSQL server of a test's own: a directory, a socket in it, and nobody else's data."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

BINARIES = Path("/usr/lib/postgresql")
"""Where Debian has a directory for each major version."""

_UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root


class PrivatePostgreSQL:
    """A server for the length of a ``with`` block.

    Nothing is flushed to disk: it is thrown away with its directory.
    """

    def __init__(self) -> None:
        # Not below pytest's own directory: only root may enter that.
        self._directory = Path(tempfile.mkdtemp(prefix="pg-"))

    @property
    def url(self) -> str:
        """Its database, for SQLAlchemy."""
        return f"postgresql+psycopg2://postgres@/postgres?host={self._directory}"

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            shutil.chown(self._directory, _UNPRIVILEGED)
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres")
        settings = f"-F -k {self._directory} -c listen_addresses= -c max_connections=100"
        self._run("pg_ctl", "start", "-w", "-l", str(self._directory / "log"), "-o", settings)
        return self

    def __exit__(self, *_error: object) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        command = [_newest(program), *arguments, "-D", str(self._directory / "data")]
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": _UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
        # With a pipe for its output, pg_ctl would seem to run for as long as the server does.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._directory, **who)


def _newest(program: str) -> str:
    versions = sorted(BINARIES.glob(f"*/bin/{program}"), key=lambda path: int(path.parts[-3]))
    assert versions, f"{program} is missing: install the Debian package postgresql"
    return str(versions[-1])
