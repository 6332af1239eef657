# SPDX-License-Identifier: GPL-2.0-only
"""A host where VMs do not start costs its own share, and no build hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_guests
import unfit_volumes
from buildmaster import wait_for
from commands import status, told
from lab import FOREIGN_DOMAIN, STORAGE_POOL, Lab
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd
from pools import WORKER_BY_PROPERTY, MakeMaster, PoolSettings, go_on

TRIVIAL = """
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
"""

BETWEEN_CLONE_AND_START = """
import os
from latent_libvirt.host.domains.machine import Machine
from twisted.internet import reactor
from twisted.internet.task import deferLater

clone = Machine.clone

async def cloned(machine):
    await clone(machine)
    open("cloned", "w").close()
    while not os.path.exists("go-on"):
        await deferLater(reactor, 0.1, lambda: None)

Machine.clone = cloned
"""
"""Lets a VM wait for :func:`go_on` at a moment that is too short to be hit from outside."""


@pytest.fixture
def bad(sandbox: PrivateLibvirtd) -> Lab:
    """Give a second hypervisor, on which nothing has been published."""
    sandbox.define_storage_pool(STORAGE_POOL)
    return Lab(sandbox)


def with_bad_host_first(bad: Lab, **settings: str) -> PoolSettings:
    """Return a pool whose first host is *bad*: among equals, the first is taken."""
    host = {"uri": f'"{bad.uri}"', "slots": "2", "storage_pool": STORAGE_POOL, "accelerator": "tcg"}
    lines = [f"  {key}: {value}" for key, value in host.items()]
    return PoolSettings(other_hosts="\n".join(["bad:", *lines]), **settings)  # type: ignore[arg-type]


def test_a_host_without_the_image_is_passed_over(
    lab: Lab, bad: Lab, make_master: MakeMaster
) -> None:
    master = make_master(TRIVIAL, settings=with_bad_host_first(bad))
    wait_for("both hosts to be usable", lambda: all(h["usable"] for h in status(master)["hosts"]))

    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    (build,) = master.builds(job)
    assert build["properties"]["vm_host"][0] == "here"
    preparation = master.get(f"builds/{build['buildid']}/steps")[0]["state_string"]
    assert "ready on host here, after 1 lost VM: prepare " in preparation
    assert "attach " in preparation
    lost = "VM 1 lost on host bad: image debian-12 is not published in storage pool 'builds'"
    master.wait_for_logs(build, f"{lost}; trying host here")
    assert "is given up, the job gets another" in master.log


def test_a_host_whose_guests_die_is_set_aside_and_comes_back(
    lab: Lab, bad: Lab, make_master: MakeMaster, image: LocalImage, tmp_path: Path
) -> None:
    bad.publish(tiny_guests.make(tmp_path / "dying", image, "debian-12", tiny_guests.DYING))
    master = make_master(TRIVIAL, settings=with_bad_host_first(bad))
    wait_for("both hosts to be usable", lambda: all(h["usable"] for h in status(master)["hosts"]))

    for _ in range(3):
        job = master.force()
        assert master.wait_for_result(job) == "SUCCESS"
        assert master.results(job) == ["SUCCESS"], "the build has heard of it"

    # The back-off may be over by now: the third build may boot for longer on a busy machine.
    assert "host bad is in back-off for 30 s: 3 starts in a row failed" in master.log
    assert "host here is in back-off" not in master.log

    told(master, "undrain", "bad")
    assert all(host["usable"] for host in status(master)["hosts"])
    wait_for("everything to be freed there", lambda: not bad.leftovers())


def test_a_job_that_meets_a_defined_domain_takes_another_slot_and_loses_no_attempt(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = PoolSettings(slots=3, launch_attempts=1)
    master = make_master(TRIVIAL + BETWEEN_CLONE_AND_START, settings=settings)
    job = master.force()
    wait_for("the VM to be about to start", (master.directory / "cloned").exists)

    with lab.defined(FOREIGN_DOMAIN):
        go_on(master)
        assert master.wait_for_result(job) == "SUCCESS"
        seen = wait_for("it to be named", lambda: status(master)["hosts"][0]["squatters"])
        table = told(master, "status")

    (build,) = master.builds(job)
    assert build["properties"]["vm_domain"][0] in {"latent-libvirt-2", "latent-libvirt-3"}
    assert "latent-libvirt-1 on host here is given up, the job gets another" in master.log
    assert "is in back-off" not in master.log
    assert "slot 1: domain latent-libvirt-1 is defined there, and not ours" in seen[0]
    assert seen[0] in table


def test_volumes_that_are_no_images_fail_only_the_jobs_that_want_them_and_at_once(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = PoolSettings(
        image="{name: debian-12}\n  raw: {volume: raw.img}",
        other_labels="raw: {image: raw, memory: 512MiB, network: user, launch_attempts: 3}",
    )
    master = make_master(TRIVIAL, workers=WORKER_BY_PROPERTY, settings=settings)

    with (
        unfit_volumes.made(lab.directory),
        unfit_volumes.unnameable(lab.directory),
        lab.connection() as connection,
    ):
        connection.storagePoolLookupByName(STORAGE_POOL).refresh()
        job, other = master.force(label="raw"), master.force(label="debian-12")
        assert master.wait_for_result(job) == "EXCEPTION"
        assert master.wait_for_result(other) == "SUCCESS"

    (build,) = master.builds(job)
    preparation = master.get(f"builds/{build['buildid']}/steps")[0]["state_string"]
    assert "volume 'raw.img' in storage pool 'builds' cannot be a base image" in preparation
    assert "it is no qcow2" in preparation
    assert "trying host" not in master.logs(build)
    assert master.results(other) == ["SUCCESS"]
    assert "is in back-off" not in master.log
