# SPDX-License-Identifier: GPL-2.0-only
"""Record of what a build has used: one value of build data, and a property.

The value is what sums are made of (``sums.py``). It is written again while a long build runs, so
that a master that is killed loses a few minutes of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from latent_libvirt.status.usage import BuildUsage

if TYPE_CHECKING:
    from latent_libvirt.pool.vm import VM

NAME: Final = "latent_libvirt/usage"
"""The name of the build data."""

PROPERTY: Final = "vm_usage"

SOURCE: Final = "latent_libvirt"

AGAIN_AFTER: Final = 300.0
"""Seconds after which the record of a build that runs is written again."""

_USAGE: Final = TypeAdapter(BuildUsage)

_LIMIT: Final = 2**63
"""What no number of a record reaches."""


def decoded(value: bytes) -> BuildUsage | None:
    """Return the usage that a stored *value* has; ``None`` if it is no record of this version.

    All its numbers are finite, not negative, and less than 2**63.
    """
    try:
        usage = _USAGE.validate_json(value, strict=True)
    except ValueError:
        return None
    numbers = (each for each in vars(usage).values() if isinstance(each, int | float))
    return usage if all(0 <= each < _LIMIT for each in numbers) else None


def usage_of(vm: VM, seconds: float) -> BuildUsage | None:
    """Return what the build in *vm* has used, as far as its meter was read.

    :param seconds: for which it has had the VM.
    """
    used, meter, size = vm.machine.meter.used, vm.machine.meter, vm.allocation.size
    if used is None:
        return None
    return BuildUsage(
        label=vm.allocation.label,
        host=vm.host.name,
        vcpus=size.vcpus,
        memory=size.memory,
        # Counters may begin again: what is below 0 would take the record out of all sums.
        seconds=round(max(0.0, seconds), 2),
        cpu_seconds=round(max(0.0, used.cpu), 2),
        peak_cpus=round(meter.peak_cpus, 2),
        peak_memory=used.memory,
        read=max(0, used.read),
        written=max(0, used.written),
        received=max(0, used.received),
        sent=max(0, used.sent),
        vm_id=vm.vm_id,
    )


async def store(master: Any, build: Any, usage: BuildUsage, *, is_over: bool) -> None:
    """Write *usage* of *build* down; as a property as well once the build is over."""
    value = json.dumps(asdict(usage), separators=(",", ":")).encode()
    await master.data.updates.setBuildData(build.buildid, NAME, value, SOURCE)
    if is_over:
        build.setProperty(PROPERTY, asdict(usage), SOURCE)
        await master.data.updates.setBuildProperties(build.buildid, build)
