# SPDX-License-Identifier: GPL-2.0-only
"""Holds that operators have asked for while a job runs, as the record of its VM has them.

A master that is killed says nothing to the next one. So the domain says for how long it is to be
held, and for whom. The next master holds it then from the moment at which it finds it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.pool.holding import builds

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.pool.lease import Lease

log = Logger()

LONGEST: Final = 30 * 24 * 3600.0
"""Seconds that a record may ask for. Anyone who may change a domain may write anything there."""

LONGEST_NAME: Final = 200
"""Characters of a user's name in a record."""


async def record(lease: Lease) -> None:
    """Have the host of the VM of *lease* record whether an operator has asked to hold it.

    A host that cannot be asked is logged: the hold counts, and a killed master takes it along.
    """
    seconds = lease.hold_for if lease.is_hold_asked else None
    try:
        await lease.vm.machine.mark(
            hold_for="" if seconds is None else f"{seconds:.3f}",
            hold_asked_by=lease.hold_asked_by[:LONGEST_NAME],
            build=builds.written(lease.job),
        )
    except LatentLibvirtError as error:
        log.warn(
            "VM {vm}: its host cannot record what is to be held, so a master that is killed "
            "forgets that: {error}",
            vm=str(lease),
            error=str(error),
        )


def until(found: VmRecord, now: float) -> str | None:
    """Return until when a VM is held that was to be held after its job, which has ended just now.

    :param now: in seconds since the epoch.
    :return: the moment, as a record has it; ``None`` if nobody has asked to hold it.
    """
    try:
        seconds = float(found.hold_for)
    except ValueError:
        return None
    if not found.is_to_be_held or not math.isfinite(seconds) or not 0 < seconds <= LONGEST:
        return None
    moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds")
