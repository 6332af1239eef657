# SPDX-License-Identifier: GPL-2.0-only
"""Faults of storage, images and guests, provoked for real under whole jobs.

docs/explanation/faults.md lists them.

Each test sees that the job is told what happened, that nothing is left, and that the next job runs.
Hosts that do not answer are in ``test_silent_hosts.py``, masters that die in
``test_killed_master.py`` and ``test_killed_at_random.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree
from lxml.builder import E

import buildmaster
import lab as lab_module
import memory
from buildmaster import BuildMaster, wait_for
from lab import STORAGE_POOL, Lab
from latent_libvirt.host.volumes import images
from latent_libvirt.images.description import PartName
from latent_libvirt.images.local import LocalImage
from pools import WORKERS_OF_THE_POOL, PoolSettings, master_cfg, write_pool

MIB = 2**20

TRUE = """
factory = util.BuildFactory([steps.ShellCommand(name="true", command=["true"])])
"""

WRITING = """
factory = util.BuildFactory([
    steps.ShellCommand(
        name="write",
        command="dd if=/dev/urandom of=/var/tmp/large bs=1M count=150 && sync /var/tmp/large",
    ),
])
"""

# The property that chooses a label elsewhere says here whether to flood; 124 is timeout(1)'s "yes".
FLOODING = """
flood = "(sudo -n timeout 15 sh -c 'yes flood >%s'; test $? = 124 && echo >>/tmp/done) & "
console, channel = flood % "/dev/ttyS0", flood % "$(echo /dev/vport*p1)"
count = "wait; test $(wc -l </tmp/done) = 2 && echo both have flooded"
factory = util.BuildFactory([
    steps.ShellCommand(
        name="flood",
        command=["sh", "-c", console + channel + count],
        doStepIf=lambda step: step.getProperty("label") == "flood",
    ),
    steps.ShellCommand(name="true", command=["true"]),
])
"""

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "10"])])
"""

Start = Callable[..., BuildMaster]


@pytest.fixture
def hurt(tmp_path: Path, cache: Path, image: LocalImage) -> Iterator[Lab]:
    """Give a hypervisor of the test's own, whose storage pool is a small disk of its own."""
    size = image.description.parts.size + 400 * MIB
    with lab_module.running(tmp_path / "lab", cache=cache, disk=size) as lab:
        lab.publish(image)
        yield lab
        wait_for("everything to be freed", lambda: not lab.leftovers())


@pytest.fixture
def start(hurt: Lab, tmp_path: Path) -> Iterator[Start]:
    """Give a way to start a master that uses it."""
    with contextlib.ExitStack() as masters:

        def _start(factory: str, settings: PoolSettings | None = None) -> BuildMaster:
            directory = tmp_path / "master"
            directory.mkdir()
            write_pool(directory, hurt.uri, settings or PoolSettings())
            configuration = master_cfg(factory, workers=WORKERS_OF_THE_POOL)
            return masters.enter_context(buildmaster.running(directory, configuration))

        yield _start


# Storage.


def test_a_full_storage_pool_is_told_and_the_next_job_runs_once_there_is_room(
    hurt: Lab, start: Start
) -> None:
    fill(hurt, leaving=0)
    master = start(TRUE, PoolSettings(launch_attempts=1))
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert "host here could not create an overlay" in text
    assert "No space left on device" in text
    assert not hurt.leftovers()

    make_room(hurt)

    assert master.wait_for_result(master.force()) == "SUCCESS"


def test_a_storage_pool_that_fills_up_under_a_build_is_told_and_the_job_runs_again(
    hurt: Lab, start: Start
) -> None:
    """QEMU pauses a VM that cannot write: without the event, its build would hang for ever."""
    fill(hurt, leaving=60 * MIB)
    master = start(WRITING)
    job = master.force()

    wait_for("the VM to be lost", lambda: master.results(job)[:1] == ["RETRY"])
    make_room(hurt)

    assert master.wait_for_result(job) == "SUCCESS"
    text = master.logs(master.builds(job)[0])
    assert "its disk failed; most likely the host's storage pool is full" in text


# Images.


@pytest.mark.parametrize("part", ["disk", "kernel", "initrd"])
def test_an_image_that_has_lost_a_volume_is_told_with_what_to_do_and_can_be_published_again(
    hurt: Lab, start: Start, image: LocalImage, part: PartName
) -> None:
    delete_volume(hurt, image, part)
    master = start(TRUE)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert "image debian-12" in text
    assert "host here" in text
    assert f"image publish debian-12 --uri {hurt.uri} --pool {STORAGE_POOL}" in text.replace(
        "'", ""
    )

    hurt.publish(image)

    assert master.wait_for_result(master.force()) == "SUCCESS"


def test_an_image_whose_file_is_removed_behind_libvirts_back_is_told_as_well(
    hurt: Lab, start: Start, image: LocalImage
) -> None:
    master = start(TRUE)
    assert master.wait_for_result(master.force()) == "SUCCESS"
    path(hurt, image, "disk").unlink()
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert "image publish debian-12" in master.logs(master.builds(job)[0])


def test_an_image_deleted_under_a_running_vm_does_not_hurt_its_build(
    hurt: Lab, start: Start, image: LocalImage
) -> None:
    master = start(SLEEPING, PoolSettings(max_vms=1))
    first, second = master.force(), master.force()
    wait_for("the build", lambda: "pinging the worker" in master.log)

    for part in ("disk", "kernel", "initrd"):
        delete_volume(hurt, image, part)

    assert master.wait_for_result(first) == "SUCCESS"
    assert master.results(first) == ["SUCCESS"]
    assert master.wait_for_result(second) == "EXCEPTION"


# Guests.


def test_a_build_that_floods_console_and_channel_costs_the_master_nothing_and_others_little(
    hurt: Lab, start: Start
) -> None:
    master = start(FLOODING, PoolSettings(max_vms=2))
    before = memory.peak(master.pid)

    flooding, other = master.force(label="flood"), master.force()

    assert [master.wait_for_result(job) for job in (flooding, other)] == ["SUCCESS"] * 2
    assert [master.results(job) for job in (flooding, other)] == [["SUCCESS"]] * 2
    assert "both have flooded" in master.logs(master.builds(flooding)[0])
    assert memory.peak(master.pid) - before < memory.BOUND


def fill(lab: Lab, *, leaving: int) -> None:
    """Leave only so many bytes free in the storage pool."""
    with storage_pool(lab) as pool:
        size = str(pool.info()[3] - leaving)
        xml = E.volume(E.name("ballast"), E.capacity(size), E.allocation(size))
        pool.createXML(etree.tostring(xml, encoding="unicode"))


def make_room(lab: Lab) -> None:
    with storage_pool(lab) as pool:
        pool.storageVolLookupByName("ballast").delete()


def delete_volume(lab: Lab, image: LocalImage, part: PartName) -> None:
    with storage_pool(lab) as pool:
        pool.storageVolLookupByName(volume(image, part)).delete()


def path(lab: Lab, image: LocalImage, part: PartName) -> Path:
    """Return where the file of a volume is for processes outside the sandbox."""
    with storage_pool(lab) as pool:
        inside = pool.storageVolLookupByName(volume(image, part)).path()
    return Path(f"/proc/{lab.sandbox.pid}/root{inside}")


def volume(image: LocalImage, part: PartName) -> str:
    return images.PublishedImage.of(image.description).volume(part)


@contextlib.contextmanager
def storage_pool(lab: Lab) -> Iterator[libvirt.virStoragePool]:
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.refresh()
        yield pool
