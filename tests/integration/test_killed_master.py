# SPDX-License-Identifier: GPL-2.0-only
"""A master that is killed, like by a power cut, in each phase of a VM's life."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildmaster import BuildMaster, wait_for
from lab import Lab
from pools import MakeMaster, PoolSettings

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "5"])])
"""

# The moment is recognised from outside: by what the host holds, and by what the master logged.
PHASES: dict[str, Callable[[Lab, BuildMaster], object]] = {
    "the overlay is there, the domain not yet": lambda lab, _: lab.overlays(),
    "the guest boots": lambda lab, _: lab.domains(),
    "the guest gets its identity": lambda _, master: "attaching from" in master.log,
    "the build runs": lambda _, master: "pinging the worker" in master.log,
    "the VM is torn down": lambda _, master: "insubstantiating worker" in master.log,
}


@pytest.mark.parametrize("phase", PHASES)
def test_after_a_restart_and_a_sweep_nothing_is_left_and_the_job_has_run(
    lab: Lab, make_master: MakeMaster, phase: str
) -> None:
    """D7, D11 (buildbot #3023, #4782, #6172): leftovers are found at the next start."""
    master = make_master(SLEEPING)
    job = master.force()
    wait_for(phase, lambda: PHASES[phase](lab, master))

    master.kill()
    master.start()

    assert master.wait_for_result(job) == "SUCCESS"
    wait_for("everything to be freed", lambda: not lab.leftovers())


def test_a_sweep_frees_nothing_of_another_master(lab: Lab, make_master: MakeMaster) -> None:
    """Buildbot #3800: cleaning up after worker-1 killed worker-11."""
    one, other = make_master(SLEEPING), make_master(SLEEPING)
    job = one.force()
    wait_for("the guest to boot", lab.domains)

    other.kill()
    other.start()

    assert one.wait_for_result(job) == "SUCCESS"
    assert one.results(job) == ["SUCCESS"]


def test_two_masters_that_share_a_host_keep_within_its_slots(
    lab: Lab, make_master: MakeMaster
) -> None:
    """A slot's domain has one name, and libvirt refuses a second domain of that name."""
    masters = [make_master(SLEEPING, settings=PoolSettings(slots=1)) for _ in range(2)]

    with lab.watching() as seen:
        jobs = [(master, master.force()) for master in masters]
        results = [master.wait_for_result(job) for master, job in jobs]

    assert results == ["SUCCESS", "SUCCESS"]
    assert max(len(sample.domains) for sample in seen) == 1
