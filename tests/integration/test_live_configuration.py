# SPDX-License-Identifier: GPL-2.0-only
"""The pool's YAML file is saved while a master runs: no reconfig, no restart."""

from __future__ import annotations

from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from pools import MakeMaster, PoolSettings, write_pool

LONG = "factory = util.BuildFactory([steps.ShellCommand(command=['sleep', '1000'])])"


def test_a_larger_cap_makes_workers_and_lets_waiting_jobs_start(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(LONG, settings=PoolSettings(label_max_vms=1))
    for _ in range(2):
        master.force()
    wait_for("the first VM", lab.domains)

    write_pool(master.directory, lab.uri, PoolSettings(max_vms=2, label_max_vms=2))

    wait_for("a second VM", lambda: len(lab.domains()) == 2)
    assert "pool latent_libvirt: master: max_vms 1 → 2" in master.log
    assert "pool latent_libvirt: label debian-12: max_vms 1 → 2" in master.log
    assert "beginning configuration update" not in master.log


def test_a_smaller_cap_drains_and_the_next_reconfig_finds_nothing_new(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(LONG, settings=PoolSettings(max_vms=2))
    job = master.force()
    wait_for("the first VM", lab.domains)

    write_pool(master.directory, lab.uri, PoolSettings(max_vms=0, slots=0))
    wait_for("the change to be applied", lambda: "max_vms 2 → 0" in master.log)
    waiting = master.force()
    master.reconfig()

    assert master.log.count("max_vms 2 → 0") == 1
    assert lab.domains()
    assert master.results(job) == [None]
    assert master.builds(waiting) == []


def test_requests_of_a_label_that_is_renamed_wait_and_go_on_when_it_is_back(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(LONG, settings=PoolSettings(max_vms=0))
    pool_yaml = master.directory / "pool.yaml"
    text = pool_yaml.read_text()
    job = master.force()
    wait_for("the reason", lambda: "max_vms of the master is reached (0)" in reason(master))

    pool_yaml.write_text(text.replace("\n  debian-12:", "\n  renamed:"))

    gone = "label debian-12 is not in the pool's YAML file any more"
    wait_for("the new reason", lambda: reason(master) == gone)
    assert master.builds(job) == []
    pool_yaml.write_text(text.replace("max_vms: 0,", "max_vms: 1,"))
    wait_for("a VM", lab.domains)
    assert master.results(job) == [None]


def reason(master: BuildMaster) -> str:
    """Return why its only request waits, as ``latent-libvirt status`` has it."""
    return "".join(request["reason"] for request in status(master)["explained"])


def test_a_file_with_a_mistake_changes_nothing_and_is_told_with_its_line(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(LONG)
    text = (master.directory / "pool.yaml").read_text()

    (master.directory / "pool.yaml").write_text(text.replace("max_vms: 1,", "max_vms: one,"))

    wait_for("the refusal", lambda: "is refused, the old configuration stays" in master.log)
    assert "pool.yaml:2:" in master.log
    assert "is good again" not in master.log
    (master.directory / "pool.yaml").write_text(text)
    wait_for("the end of the refusal", lambda: "what was saved is good again" in master.log)
    master.force()
    wait_for("a VM all the same", lab.domains)
