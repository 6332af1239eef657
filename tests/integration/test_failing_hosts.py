# SPDX-License-Identifier: GPL-2.0-only
"""A host where VMs do not start costs its own share, and no build hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_guests
from buildmaster import wait_for
from commands import status, told
from lab import STORAGE_POOL, Lab
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd
from pools import MakeMaster, PoolSettings

TRIVIAL = """
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
"""


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
