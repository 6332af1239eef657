# SPDX-License-Identifier: GPL-2.0-only
"""Servers that masters need: PostgreSQL, which measures statements, and a router for several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter

if TYPE_CHECKING:
    from latent_libvirt.stress.workspace import Workspace

MEASURED: Final = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "max_connections": "300",  # 11 masters have up to 16 each
}


@dataclass(frozen=True)
class Servers:
    """What runs.

    :param router_url: empty without a router.
    :param pids: the first process of each, by its name in the report.
    """

    db_url: str
    router_url: str = ""
    router_secret: str = field(default="", repr=False)
    pids: dict[str, int] = field(default_factory=dict)


@contextmanager
def serving(work: Workspace, *, cache: Path, with_router: bool) -> Iterator[Servers]:
    """Run the servers for the length of a ``with`` block.

    :param work: for all their files.
    :param cache: keeps crossbar, which takes long to install.
    :raises HostError: one does not start.
    """
    with ExitStack() as stack:
        database = PrivatePostgreSQL(
            work.directory / "postgresql", settings=MEASURED, sockets=work.sockets
        )
        stack.enter_context(database)
        if not with_router:
            yield Servers(database.url, pids={"postgresql": database.pid})
            return
        router = PrivateRouter(work.directory / "router", environment=cache / "crossbar-venv")
        stack.enter_context(router)
        pids = {"postgresql": database.pid, "router": router.pid}
        yield Servers(database.url, router.url, router.secret, pids)
