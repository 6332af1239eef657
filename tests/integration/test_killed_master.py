# SPDX-License-Identifier: GPL-2.0-only
"""A master that is killed, like by a power cut, in each phase of a VM's life."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildmaster import BuildMaster, wait_for
from commands import status, told
from lab import Lab
from latent_libvirt.host import names
from pools import MakeMaster, PoolSettings
from ready import RESUMED, SLOTS

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "5"])])
"""

# The moment is recognised from outside: by what the host holds, and by what the master logged.
PHASES_OF_A_START: dict[str, Callable[[Lab], object]] = {
    "the overlay is there, the domain not yet": Lab.overlays,
    "the guest boots": Lab.domains,
}
PHASES_OF_A_BUILD = {
    "the guest gets its identity": "attaching from",
    "the build runs": "pinging the worker",
    "the VM is torn down": "insubstantiating worker",
}


@pytest.mark.parametrize("phase", PHASES_OF_A_START)
def test_after_a_restart_and_a_sweep_nothing_is_left_and_the_job_has_run(
    lab: Lab, make_master: MakeMaster, phase: str
) -> None:
    """Leftovers are found at the next start (buildbot #3023, #4782, #6172)."""
    killed_once(make_master(SLEEPING), lab, lambda: PHASES_OF_A_START[phase](lab))


@pytest.mark.parametrize("phase", PHASES_OF_A_BUILD)
def test_after_a_restart_and_a_sweep_nothing_is_left_of_a_build_and_it_has_run(
    ready_lab: Lab, make_ready_master: MakeMaster, phase: str
) -> None:
    master = make_ready_master(SLEEPING)
    killed_once(master, ready_lab, lambda: PHASES_OF_A_BUILD[phase] in master.log)


def killed_once(master: BuildMaster, lab: Lab, now: Callable[[], object]) -> None:
    """Kill a master at some moment of its job, and see what becomes of that."""
    job = master.force()
    wait_for("the moment", now)

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


def test_an_idle_master_saves_nothing_on_a_host_that_another_one_uses(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    busy = make_ready_master(SLEEPING, settings=RESUMED)
    idle = make_ready_master(SLEEPING, settings=RESUMED)
    states = ready_lab.saved()

    told(idle, "sweep")
    job = busy.force()

    assert busy.wait_for_result(job) == "SUCCESS"
    assert "resume" in busy.builds(job)[0]["properties"]["vm_phases"][0]
    told(idle, "sweep")
    (host,), saving = status(idle)["hosts"], status(idle)["saving"]
    assert (host["shared"], host["saved"], saving) == (True, [], [])
    assert (len(states), ready_lab.saved()) == (2 * SLOTS, states)
    assert "shared with another owner" in " ".join(told(idle, "status").split())
    told(busy, "sweep")
    (host,) = status(busy)["hosts"]
    assert not host["shared"], "what is idle has nothing there"


def test_an_idle_master_saves_slots_once_the_other_one_has_left_the_host(
    lab: Lab, make_master: MakeMaster
) -> None:
    """The other one is what it has left: it need not live."""
    lab.leave_overlay(names.Owner("another:/srv/master", "latent_libvirt"))
    master = make_master(SLEEPING, settings=RESUMED)
    wait_for("a look at the host", lambda: "another owner has VMs or volumes" in master.log)
    assert status(master)["saving"] == []

    lab.delete_overlays()
    told(master, "sweep")

    wait_for("it to save a slot", lambda: status(master)["saving"])
    assert not status(master)["hosts"][0]["shared"]
    master.stop()
    lab.delete_saved()
