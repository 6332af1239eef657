# SPDX-License-Identifier: GPL-2.0-only
"""Guests that do not do their part: what the build's own log says, and that nothing is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import memory
import tiny_guests
from buildmaster import BuildMaster, wait_for
from lab import Lab
from latent_libvirt.images.local import LocalImage
from pools import MakeMaster, PoolSettings

SHORT = """
from latent_libvirt.host.domains import machine
machine.STARTING_TIMEOUT = 8.0
"""

NEVER_RUNS = """
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
"""

PANICKING = """
factory = util.BuildFactory([
    steps.ShellCommand(command="sudo -n sh -c 'echo c >/proc/sysrq-trigger'"),
])
"""

# What the guest does, and what the build's log must say of it.
GUESTS = {
    "silent": (
        tiny_guests.SILENT,
        ["did not say 'waiting' within 30 s", "I shall say nothing", "boot_timeout"],
    ),
    "dying": (tiny_guests.DYING, ["powered itself off", "I cannot go on"]),
    "panicking": (
        tiny_guests.PANICKING,
        ["the guest's kernel panicked: sysrq triggered crash", "Rebooting in 1 seconds"],
    ),
    "dying-late": (
        tiny_guests.DYING_WITH_ITS_IDENTITY,
        ["powered itself off", "Not me"],
    ),
    "refusing": (
        tiny_guests.REFUSING,
        ["the launcher in VM", "failed: cannot connect to the master at nowhere"],
    ),
    "never-attaching": (tiny_guests.NEVER_ATTACHING, ["did not attach within 5 s"]),
    "hanging-up": (
        tiny_guests.HANGING_UP,
        ["did not say 'starting' within 8 s", "I shall say nothing"],
    ),
    "flooding-its-console": (
        tiny_guests.FLOODING_ITS_CONSOLE,
        ["did not say 'waiting' within 30 s", "I shall say everything"],
    ),
    "flooding": (tiny_guests.FLOODING, ["broke the handshake"]),
    "talking-nonsense": (tiny_guests.TALKING_NONSENSE, ["broke the handshake", "not JSON"]),
}

WITHIN: dict[str, dict[str, str]] = {
    "silent": {"boot_timeout": "30s"},
    "flooding-its-console": {"boot_timeout": "30s"},
    "never-attaching": {"attach_timeout": "5s"},
}
"""Deadlines that end a guest. All others are as long as a slow machine needs."""


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_that_fails_is_told_with_the_reason_and_its_console(
    lab: Lab, make_master: MakeMaster, image: LocalImage, tmp_path: Path, name: str
) -> None:
    """Buildbot #3459, #4168: say what went wrong when a worker never connects."""
    script, expected = GUESTS[name]
    lab.publish(tiny_guests.make(tmp_path / "image", image, name, script))
    settings = PoolSettings(
        image=f"{{name: {name}}}",
        memory="128MiB",
        launch_attempts=1,
        **WITHIN.get(name, {}),  # type: ignore[arg-type]
    )
    is_short = name == "hanging-up"
    master = make_master(SHORT + NEVER_RUNS if is_short else NEVER_RUNS, settings=settings)
    before = memory.peak(master.pid)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert [words for words in expected if words not in text] == []
    assert "Traceback" not in text
    (build,) = master.builds(job)
    assert build["state_string"].startswith("no VM: ")
    if name == "refusing":
        assert build["state_string"] == "no VM: cannot connect to the master at nowhere"
    assert page(master, job) == build["state_string"]
    assert memory.peak(master.pid) - before < memory.BOUND


def test_a_kernel_that_panics_under_its_build_ends_the_vm_with_the_reason(
    make_master: MakeMaster,
) -> None:
    """A kernel stands still after a panic, and its build would wait for it."""
    master = make_master(PANICKING, settings=PoolSettings(launch_attempts=1))
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert "the guest's kernel panicked: sysrq triggered crash" in text


def test_a_host_starts_no_more_vms_at_once_than_it_may(
    lab: Lab, make_master: MakeMaster, image: LocalImage, tmp_path: Path
) -> None:
    lab.publish(tiny_guests.make(tmp_path / "image", image, "silent", tiny_guests.SILENT))
    settings = PoolSettings(
        max_vms=2,
        max_starting=1,
        image="{name: silent}",
        boot_timeout="8s",
        memory="128MiB",
        launch_attempts=1,
    )
    master = make_master(NEVER_RUNS, settings=settings)

    with lab.watching() as seen:
        jobs = [master.force() for _ in range(2)]
        wait_for(
            "the page to say that it boots",
            lambda: any(page(master, job).startswith("booting ") for job in jobs),
        )
        results = [master.wait_for_result(job) for job in jobs]

    assert results == ["EXCEPTION", "EXCEPTION"]
    assert max(len(sample.domains) for sample in seen) == 1


def test_a_job_is_not_retried_for_ever(
    lab: Lab, make_master: MakeMaster, image: LocalImage, tmp_path: Path
) -> None:
    """Buildbot #5354; buildbot_travis #74 counted 765 retries."""
    lab.publish(tiny_guests.make(tmp_path / "image", image, "dying", tiny_guests.DYING))
    settings = PoolSettings(image="{name: dying}", memory="128MiB", launch_attempts=2)
    master = make_master(NEVER_RUNS, settings=settings)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert master.results(job) == ["EXCEPTION"], "both VMs were lost before the build began"
    last = master.logs(master.builds(job)[-1])
    assert "giving up: this job has lost 2 VMs" in last
    assert "the label's launch_attempts" in last
    assert re.search("VM 1 lost on host .*powered itself off or rebooted; trying host ", last)


def page(master: BuildMaster, job: int) -> str:
    """Return what the page of the last build says of the preparation of its worker, if it does."""
    builds = master.builds(job)
    steps = master.get(f"builds/{builds[-1]['buildid']}/steps") if builds else []
    preparations = [step for step in steps if step["name"] == "worker_preparation"]
    return next((str(step["state_string"]) for step in preparations), "")
