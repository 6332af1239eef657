# SPDX-License-Identifier: GPL-2.0-only
"""How densely a host's memory is used, by what its libvirt says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import HostConfig
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.host import Host
from latent_libvirt.host.machine_room import MachineRoom
from latent_libvirt.host.meters.density import DensityMeter
from latent_libvirt.host.names import Owner
from latent_libvirt.status.hosts import Density

MEMORY = 24 * 2**30
PAGES = "<capabilities><host><cpu>{}</cpu></host></capabilities>"
SIZES = "<pages unit='KiB' size='2048'/><pages unit='KiB' size='4'/><pages unit='B' size='1'/>"


class Kernel:
    """A connection to a host whose kernel shares pages, or whose libvirt does not say.

    A fake, since the kernel of the machine that runs the tests is not the tests' to change.

    :ivar vms: the memory of each VM, in KiB; ``None`` while libvirt is busy with it.
    :ivar parameters: what libvirt says of the kernel's; an exception is raised.
    :ivar asked: how often each thing was asked.
    """

    def __init__(self, pages: str = SIZES, **parameters: object) -> None:
        self.vms: dict[str, int | None] = {"one": 1024, "two": 2048}
        self.parameters: Any = {"shm_pages_shared": 9, **parameters}
        self.asked: list[str] = []
        self.is_alive = True
        self._pages = pages

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's
        return self.is_alive

    def getAllDomainStats(  # noqa: N802
        self, _statistics: int, _flags: int
    ) -> list[tuple[object, dict[str, int]]]:
        return [
            (SimpleNamespace(name=lambda name=name: name, ID=lambda: 7), _stats(memory))
            for name, memory in self.vms.items()
        ]

    def getMemoryParameters(self) -> Any:  # noqa: N802
        self.asked.append("shared pages")
        if isinstance(self.parameters, Exception):
            raise self.parameters
        return self.parameters

    def getCapabilities(self) -> str:  # noqa: N802
        self.asked.append("size of pages")
        return PAGES.format(self._pages)


def _stats(memory: int | None) -> dict[str, int]:
    return {"cpu.time": 1} if memory is None else {"cpu.time": 1, "balloon.rss": memory}


def read(meter: DensityMeter, kernel: Kernel) -> Density | None:
    meter.note(meter.read(kernel, lambda: 1.0))
    return meter.density(MEMORY)


@pytest.fixture
def meter() -> DensityMeter:
    return DensityMeter("alpha")


def test_nothing_is_known_before_the_first_reading(meter: DensityMeter) -> None:
    assert meter.density(MEMORY) is None


def test_it_says_what_vms_have_and_share_of_the_hosts_memory(meter: DensityMeter) -> None:
    kernel = Kernel(shm_pages_sharing=256)

    assert read(meter, kernel) == Density(2, 3 * 2**20, MEMORY, 2**20)


def test_pages_are_as_large_as_the_hosts(meter: DensityMeter) -> None:
    kernel = Kernel("<pages unit='KiB' size='64'/>", shm_pages_sharing=16)

    density = read(meter, kernel)

    assert density is not None
    assert density.shared == 2**20


def test_the_size_of_pages_is_asked_once_and_only_if_some_are_shared(meter: DensityMeter) -> None:
    kernel = Kernel(shm_pages_sharing=0)
    density = read(meter, kernel)
    assert density is not None
    assert (density.shared, kernel.asked) == (0, ["shared pages"])

    kernel.parameters["shm_pages_sharing"] = 1
    for _ in range(3):
        read(meter, kernel)

    assert kernel.asked.count("size of pages") == 1


def test_a_vm_that_libvirt_is_busy_with_has_what_it_had(meter: DensityMeter) -> None:
    kernel = Kernel(shm_pages_sharing=0)
    read(meter, kernel)
    kernel.vms = {"one": None, "three": 512}

    assert read(meter, kernel) == Density(2, 3 * 2**19, MEMORY, 0)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda: _raising(libvirt.libvirtError("this function is not supported")),
        Kernel,
        lambda: Kernel(shm_pages_sharing="many"),
        lambda: Kernel(shm_pages_sharing=-1),
        lambda: _saying(None),
        lambda: Kernel("", shm_pages_sharing=1),
        lambda: Kernel("<pages unit='KiB' size='-4'/>", shm_pages_sharing=1),
        lambda: Kernel("<", shm_pages_sharing=1),
    ],
    ids=["error", "no pages", "text", "negative", "nothing", "no size", "no number", "no XML"],
)
def test_a_host_that_does_not_say_is_asked_once_and_its_vms_count(
    meter: DensityMeter, kernel: Callable[[], Kernel]
) -> None:
    host = kernel()
    with capturedLogs() as logged:
        found = [read(meter, host) for _ in range(3)]

    assert found == [Density(2, 3 * 2**20, MEMORY)] * 3
    assert host.asked.count("shared pages") == 1
    (line,) = [formatEvent(event) for event in logged]
    assert "host alpha: how much memory VMs share is not known: " in line


def _raising(error: Exception) -> Kernel:
    kernel = Kernel()
    kernel.parameters = error
    return kernel


def _saying(parameters: Any) -> Kernel:
    kernel = Kernel()
    kernel.parameters = parameters
    return kernel


def test_a_host_that_is_lost_during_a_reading_is_asked_again(meter: DensityMeter) -> None:
    kernel = _raising(libvirt.libvirtError("the connection is closed"))
    kernel.is_alive = False

    with pytest.raises(libvirt.libvirtError):
        meter.read(kernel, lambda: 1.0)

    assert read(meter, Kernel(shm_pages_sharing=256)) == Density(2, 3 * 2**20, MEMORY, 2**20)


def test_nothing_is_known_of_a_host_that_is_lost_and_the_next_libvirtd_is_asked(
    meter: DensityMeter,
) -> None:
    read(meter, _raising(libvirt.libvirtError("this function is not supported")))

    meter.forget()

    assert meter.density(MEMORY) is None
    assert read(meter, Kernel(shm_pages_sharing=0)) == Density(2, 3 * 2**20, MEMORY, 0)


def test_libvirts_test_driver_does_not_say(meter: DensityMeter) -> None:
    connection = libvirt.open("test:///default")
    try:
        meter.note(meter.read(connection, lambda: 1.0))
    finally:
        connection.close()

    density = meter.density(MEMORY)
    assert density is not None
    assert density.shared is None


def test_a_host_reads_it_with_the_meters_of_its_vms() -> None:
    kernel, memory = Kernel(shm_pages_sharing=256), None
    context = PoolContext(Owner("master", "pool"), {}, memory, lambda: None, Clock())  # type: ignore[arg-type]
    host = Host("one", HostConfig(uri="test:///default", slots=1, storage_pool="default"), context)
    calls: list[str] = []

    async def call(operation: str, _what: str, function: Any, *args: Any) -> Any:
        calls.append(operation)
        return function(kernel, *args)

    host.connection = SimpleNamespace(is_up=True, call=call)  # type: ignore[assignment]
    host._sweeper.is_done = True
    host.machine_room = MachineRoom(2, MEMORY)
    densities = [host.density]

    Deferred.fromCoroutine(host.meters.read())
    densities.append(host.density)
    host.disconnected("the test wants so")
    densities.append(host.density)

    assert calls == ["measure"]
    assert densities == [None, Density(2, 3 * 2**20, MEMORY, 2**20), None]
