# SPDX-License-Identifier: GPL-2.0-only
"""Settings that all masters of one installation have in common.

``master_cfg.py`` has what they put into a ``master.cfg``.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Final
from urllib.parse import urlsplit

import sqlalchemy
from buildbot.config.errors import ConfigErrors
from sqlalchemy.exc import ArgumentError

from latent_libvirt.multimaster.failure_detector import FailureTimeouts
from latent_libvirt.multimaster.router_login import HOW_TO_MAKE, LEAST_LENGTH

DRIVER: Final = "postgresql+psycopg2"


@dataclass(frozen=True)
class Common:
    """One installation of several masters. Every master's ``master.cfg`` gives the same.

    :param db_url: of the PostgreSQL database, ``postgresql+psycopg2://USER@HOST/DATABASE``. Keep a
        password out of it: libpq finds it in the file that ``PGPASSFILE`` names.
    :param router_url: of the message router (crossbar), ``ws://HOST:PORT/ws``.
    :param buildbot_url: where people find the web UI, ``https://CI/``. It is part of every link, so
        it is the same whichever master makes the link.
    :param realm: of the router.
    :param router_secret: what the masters log in with at the router, best from a file
        (``read_secret``). ``None``: the router has to let in everybody who reaches it.
    :param connections: that each master keeps to the database. Statements wait for one rather than
        make more: making one costs more than most statements (measured: 390 builds a minute with
        SQLAlchemy's default, 610 with 15).
    :param failure_timeouts: after how long a silent master is taken for dead.
    :param router_timeout: seconds that a master waits for a session with the router at its start,
        before it leaves for its supervisor to start it again.
    :param leave_when_cut_off: seconds without the database after which a master leaves, so that its
        builds do not run on while others have begun them again. ``None``: it waits.
    :param stop_within: seconds that a master which is stopped (SIGTERM) gives its builds to
        finish, before they are handed to other masters. The supervisor has to wait longer.
    :raises ConfigErrors: with all that is wrong.
    """

    db_url: str = field(repr=False)
    router_url: str
    buildbot_url: str
    _: KW_ONLY
    realm: str = "buildbot"
    router_secret: str | None = field(default=None, repr=False)
    connections: int = 15
    failure_timeouts: FailureTimeouts = field(default_factory=FailureTimeouts)
    router_timeout: float = 15.0
    leave_when_cut_off: float | None = None
    stop_within: float = 600.0

    def __post_init__(self) -> None:
        if problems := [*self._problems()]:
            raise ConfigErrors(problems)

    def _problems(self) -> list[str]:
        checks = {
            f"db_url has to begin with {DRIVER}:// : what keeps masters apart is PostgreSQL's": (
                _driver(self.db_url) == DRIVER
            ),
            f"router_url is {self.router_url!r}, and has to be like ws://127.0.0.1:8080/ws": (
                urlsplit(self.router_url).scheme in ("ws", "wss")
            ),
            f"buildbot_url is {self.buildbot_url!r}, and has to be http(s):// and end with /": (
                urlsplit(self.buildbot_url).scheme in ("http", "https")
                and self.buildbot_url.endswith("/")
            ),
            "connections has to be 2 or more": self.connections > 1,
            f"router_secret has to have {LEAST_LENGTH} characters or more: {HOW_TO_MAKE}": (
                self.router_secret is None or len(self.router_secret) >= LEAST_LENGTH
            ),
        }
        return [problem for problem, is_good in checks.items() if not is_good]


def _driver(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).drivername
    except ArgumentError:
        return ""
