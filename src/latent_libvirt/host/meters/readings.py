# SPDX-License-Identifier: GPL-2.0-only
"""Readings of a host's meters: taken from time to time, and given to its VMs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.task import LoopingCall

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.meters import usage
from latent_libvirt.host.meters.density import DensityMeter
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.host import Host


class MeterReadings:
    """What reads the meters of a host.

    :param own: the VMs that live on the host, by id.
    """

    def __init__(self, host: Host, own: Mapping[str, Machine]) -> None:
        self.density = DensityMeter(host.name)
        self._host = host
        self._own = own
        self._is_under_way = False
        self._timer = LoopingCall(self._read_in_background)
        self._timer.clock = host.reactor

    def start(self) -> None:
        """Read from time to time, in the background."""
        self._timer.start(usage.INTERVAL, now=False)

    def stop(self) -> None:
        """Begin no more readings."""
        if self._timer.running:
            self._timer.stop()

    def _read_in_background(self) -> None:
        in_background(self.read(), f"host {self._host.name}: reading meters")

    async def read(self) -> None:
        """Read what all VMs have used, in one visit; not if the last one has had no answer yet."""
        if not self._host.usable or self._is_under_way:
            return
        self._is_under_way = True
        try:
            clock = partial(passed, self._host.reactor)
            what, call = "say what its VMs use", self._host.connection.call
            found = await call("measure", what, self.density.read, clock)
        except LatentLibvirtError:
            return  # it is the host's trouble, which others report
        finally:
            self._is_under_way = False
        self.density.note(found)
        self._note(found.readings)

    def _note(self, readings: Mapping[tuple[str, int], usage.Reading]) -> None:
        """Give each booted VM its reading, unless it is of another domain of that name."""
        machines = {machine.name: machine for machine in self._own.values() if machine.booted}
        for (name, domain_id), reading in readings.items():
            machine = machines.get(name)
            if machine is not None and machine.domain_id in (None, domain_id):
                machine.meter.note(reading)
