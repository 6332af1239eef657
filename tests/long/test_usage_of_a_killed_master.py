# SPDX-License-Identifier: GPL-2.0-only
"""Sums of usage agree with what libvirt counts, although the master was killed under a build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster, wait_for
from commands import told
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool
from sampler import sampling

BURNING = """
factory = util.BuildFactory([
    steps.ShellCommand(command="timeout 5 sh -c 'while :; do :; done' || true"),
    steps.ShellCommand(name="sleep", command=["sleep", "10"]),
])
"""


def test_what_the_vm_of_a_killed_master_used_is_in_the_sums(
    tmp_path: Path, cache: Path, image: LocalImage
) -> None:
    directory = tmp_path / "master"
    directory.mkdir()
    with lab_module.running(tmp_path / "lab", cache=cache) as lab, sampling(lab) as seen:
        lab.publish(image)
        write_pool(directory, lab.uri, PoolSettings())
        with buildmaster.running(directory, master_cfg(BURNING)) as master:
            job = master.force()
            wait_for("the build to rest", lambda: _sleeps(master, job))

            master.kill()
            master.start()

            assert master.wait_for_result(job) == "SUCCESS"
            wait_for("the VM to go", lambda: not lab.domains())
            usages = wait_for("both to be charged", lambda: _charged(master, job))
            (row,) = json.loads(told(master, "usage", "--format", "json"))["sums"]
    outside = sum(seen.values())
    assert len(seen) == row["builds"] == len(usages) == 2
    assert all(usage["cpu_seconds"] > 5 for usage in usages)
    assert abs(row["cpu_seconds"] - outside) <= 0.02 * outside + 0.2


def _sleeps(master: BuildMaster, job: int) -> bool:
    """Return whether the second command runs, in which the guest uses next to nothing."""
    builds = master.builds(job)
    steps = master.get(f"builds/{builds[0]['buildid']}/steps") if builds else []
    return any(step["name"] == "sleep" and step["started_at"] for step in steps)


def _charged(master: BuildMaster, job: int) -> list[dict[str, Any]] | None:
    properties = [build["properties"] for build in master.builds(job)]
    found = [each["vm_usage"][0] for each in properties if "vm_usage" in each]
    return found if len(found) == 2 else None
