# SPDX-License-Identifier: GPL-2.0-only
"""Two functions that make a ``master.cfg`` that of one of several masters.

They add what is missing. Settings that ``c`` has already stay, and what the functions have set may
be changed after. ``buildbot checkconfig`` checks the outcome like any other configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from buildbot.config.errors import ConfigErrors

from latent_libvirt.endpoints import refuse_unusable
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.links import JobLinks
from latent_libvirt.master.database import build_lists
from latent_libvirt.master.graceful_stop import OrderlyStop
from latent_libvirt.multimaster import patches, router_login
from latent_libvirt.multimaster.database import Connector
from latent_libvirt.multimaster.heartbeat import Heartbeat
from latent_libvirt.multimaster.router_watch import RouterWatch

if TYPE_CHECKING:
    from latent_libvirt.master.master_cfg import Pool
    from latent_libvirt.multimaster.settings import Common

NO_NAME: Final = (
    "the pool of an interface master needs a separate name, so that no two masters have workers "
    "of the same name: add `name: NAME` to the section `master` of its pool.yaml"
)


def scheduler_master(c: dict[str, Any], common: Common, *, www: dict[str, Any]) -> None:
    """Make a master of *c* that people and programs talk to: schedulers, web UI; no workers.

    A second one with the same schedulers stands by: its web UI serves at once, and its schedulers
    take over when the first one is gone.

    :param c: ``BuildmasterConfig``.
    :param www: as for ``c["www"]``; each scheduler master listens on a separate port.
    """
    c.setdefault("www", www)
    _one_of_several(c, common, stands_by=True)


def interface_master(
    c: dict[str, Any],
    common: Common,
    *,
    workers: str,
    pool: Pool | None = None,
) -> None:
    """Make a master of *c* that workers connect to, with builders and a pool of VMs; no web UI.

    All interface masters have the same builders, so that each can run any job. The names of their
    workers have to differ: a pool puts its master's name before them. Builds that descend from a
    job of the job API say so (``JobLinks``).

    :param c: ``BuildmasterConfig``.
    :param workers: where its workers connect to, as for ``c["protocols"]["pb"]["port"]``.
    :param pool: its VMs; its ``pool.yaml`` has a ``name`` in the section ``master``.
    :raises ConfigErrors: the pool's master has no name, or guests cannot connect to *workers*.
    """
    _check_endpoint(workers)
    c.setdefault("protocols", {"pb": {"port": workers}})
    c.setdefault("www", {"port": None, "plugins": {}})
    if pool is not None:
        _with_pool(c, pool)
    c.setdefault("workers", [])
    _add_services(c, [JobLinks()])
    _one_of_several(c, common, stands_by=False)


def _check_endpoint(workers: str) -> None:
    try:
        refuse_unusable(workers)
    except ConfigurationError as error:
        raise ConfigErrors([str(error)]) from None


def _with_pool(c: dict[str, Any], pool: Pool) -> None:
    if pool.config.master.name is None:
        raise ConfigErrors([NO_NAME])
    c.setdefault("workers", pool.workers())
    c.setdefault("prioritizeBuilders", pool.prioritize_builders)
    _add_services(c, [pool])


def _one_of_several(c: dict[str, Any], common: Common, *, stands_by: bool) -> None:
    patches.apply()
    build_lists.install()
    router_login.use(common.router_secret)
    connector = Connector(common.db_url)
    c.setdefault("multiMaster", True)
    c.setdefault("buildbotURL", common.buildbot_url)
    c.setdefault("db", database(common))
    c.setdefault("mq", {"type": "wamp", "router_url": common.router_url, "realm": common.realm})
    services = [
        RouterWatch(common.router_url, common.router_timeout),
        Heartbeat(
            connector,
            common.failure_timeouts,
            leave_when_cut_off=common.leave_when_cut_off,
            stands_by=stands_by,
        ),
        OrderlyStop(common.stop_within),
    ]
    _add_services(c, services)


def database(common: Common) -> dict[str, Any]:
    """Return ``c["db"]`` for *common*; each setting is there for a fault that was provoked."""
    return {
        "db_url": common.db_url,
        "engine_kwargs": {
            # Waits for a database that is away, rather than fail whatever needs it.
            "creator": Connector(common.db_url),
            "pool_size": common.connections,
            "max_overflow": 0,
        },
    }


def _add_services(c: dict[str, Any], services: Sequence[Any]) -> None:
    have = {service.name for service in c.get("services", [])}
    c["services"] = [*c.get("services", []), *(s for s in services if s.name not in have)]
