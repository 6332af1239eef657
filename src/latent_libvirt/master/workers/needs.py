# SPDX-License-Identifier: GPL-2.0-only
"""Needs of a worker that its master meets: a pool of its name, and a port for workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latent_libvirt.endpoints import certificate_of, refuse_unusable
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.pool.ways import WorkerPort

if TYPE_CHECKING:
    from latent_libvirt.pool.vm_pool import VmPool


def need_pool(found: VmPool | None, worker: str, name: str) -> VmPool:
    """Return the pool that was found for *worker* under that *name*.

    :raises ConfigurationError: none was found.
    """
    if found is None:
        raise ConfigurationError(
            f"worker {worker!r}: the master has no pool named {name!r}",
            resolution="Add the pool to c['services'] in the master's configuration.",
        )
    return found


def need_port(registration: Any) -> WorkerPort:
    """Return where the master listens that has this *registration* of a worker.

    :raises ConfigurationError: it does not listen for workers.
    """
    if registration is None or registration.pbReg is None:
        raise ConfigurationError(
            "the master does not listen for workers",
            resolution="Set c['protocols'] = {'pb': {'port': ...}} in master.cfg.",
        )
    pb = registration.pbReg
    factory = pb.manager.dispatchers[pb.portstr].serverFactory
    return WorkerPort(factory, lambda: _address(registration))


def _address(registration: Any) -> tuple[int, str | None]:
    """Return where workers connect to by TCP: the port, and its certificate."""
    port = registration.pbReg.portstr
    refuse_unusable(port)
    return int(registration.getPBPort()), certificate_of(port)
