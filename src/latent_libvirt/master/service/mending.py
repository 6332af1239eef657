# SPDX-License-Identifier: GPL-2.0-only
"""Mending of Buildbot: each place where a pool changes what Buildbot does, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latent_libvirt.master import deadlines, event_stream, log_bound, promised_locks, uploads
from latent_libvirt.master.choosing import build_chooser, builder_order, last_word
from latent_libvirt.master.database import (
    build_lists,
    build_properties,
    buildsets,
    written_events,
)
from latent_libvirt.master.workers import (
    connections,
    names,
    possible,
    preparation,
    prompt_attach,
    requirements,
)
from latent_libvirt.master.workers.port import dispatcher
from latent_libvirt.upstream import failed_starts

if TYPE_CHECKING:
    from latent_libvirt.master.choosing.fair_order import FairOrder
    from latent_libvirt.pool.admission import Admission


def install_early() -> None:
    """Mend Buildbot where that has to be done before there is a port for workers.

    The port is to be guarded from its first connection on.
    """
    for mended in (
        dispatcher,
        log_bound,
        deadlines,
        event_stream,
        build_lists,
        buildsets,
        uploads,
        written_events,
        names,
        requirements,
        possible,
    ):
        mended.install()


def install(master: Any, admission: Admission, order: FairOrder) -> None:
    """Mend a master that is about to start builds.

    :param admission: decides whether a build gets room.
    :param order: decides which builder comes next.
    """
    build_properties.install(master)
    buildsets.install_ends(master)
    connections.install(master)
    prompt_attach.install(master)
    promised_locks.install()
    last_word.install(master.botmaster.brd, admission)
    build_chooser.install(master.botmaster.brd, order)
    builder_order.install(master.botmaster.brd)
    failed_starts.install()
    preparation.install()
