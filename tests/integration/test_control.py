# SPDX-License-Identifier: GPL-2.0-only
"""What an operator asks a running master, by the command line and its socket."""

from __future__ import annotations

import stat
from typing import Any
from urllib.request import urlopen

from buildmaster import BuildMaster, free_port, wait_for
from commands import run, status, told
from lab import Lab
from latent_libvirt.host.names import Owner
from latent_libvirt.images.local import LocalImage
from pools import UNTIL_TOLD, MakeMaster, PoolSettings, go_on

SHORT = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "8"])])
"""

RARELY_SWEPT = """
from latent_libvirt.host import sweeper
sweeper.INTERVAL = 36000.0
"""


TOLD_AT_ONCE = """
from latent_libvirt.master.queue import waiting
waiting.TELL_AFTER = 0.0
"""


def scraped(where: str) -> str:
    with urlopen(f"http://{where}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def until_phase(master: BuildMaster, phase: str) -> dict[str, Any]:
    """Wait until the one VM is in *phase*; return the status of then."""

    def in_phase() -> dict[str, Any] | None:
        seen = status(master)
        return seen if [vm["phase"] for vm in seen["leases"]] == [phase] else None

    found: dict[str, Any] = wait_for(f"a VM in phase {phase}", in_phase)
    return found


def test_status_follows_a_vm_from_its_boot_to_its_build_and_a_drain_lets_it_finish(
    lab: Lab, make_master: MakeMaster, image: LocalImage
) -> None:
    master = make_master(UNTIL_TOLD)
    assert stat.S_IMODE((master.directory / "latent_libvirt.sock").stat().st_mode) == 0o600
    first = master.force()

    booting = until_phase(master, "boot")
    building = until_phase(master, "build")
    drained = told(master, "drain", "here")
    second = master.force()
    table = told(master, "status")
    go_on(master)
    waited = told(master, "drain", "here", "--wait")

    (vm,) = booting["leases"]
    assert (vm["host"], vm["label"], vm["slot"]) == ("here", "debian-12", 1)
    assert vm["domain"] == "latent-libvirt-1"
    assert 0 < vm["seconds_in_phase"] <= vm["seconds"]
    assert vm["job"]["builder"] == "check"
    (vm,) = building["leases"]
    assert vm["image"] == image.description.digest
    assert (building["used"], building["hosts"][0]["used"]) == (1, 1)
    assert drained == "host here is drained: no new VM starts.\n"
    assert "drained, 1 to go" in table
    assert waited.splitlines()[-1] == "host here is empty."
    assert master.results(first) == ["SUCCESS"]

    master.reconfig()
    (host,) = status(master)["hosts"]
    assert (host["drained"], host["used"]) == (True, 0)
    assert lab.domains() == []
    assert master.builds(second) == []

    told(master, "undrain", "here")

    assert master.wait_for_result(second) == "SUCCESS"


def test_a_drained_label_starts_nothing_until_that_is_taken_back(
    lab: Lab, make_master: MakeMaster
) -> None:
    where = f"127.0.0.1:{free_port()}"
    settings = PoolSettings(metrics=where)
    master = make_master(TOLD_AT_ONCE + SHORT, settings=settings)
    told(master, "drain", "debian-12", "--wait")
    job = master.force()

    (label,) = status(master)["labels"]
    assert (label["drained"], label["used"]) == (True, 0)
    assert master.builds(job) == []
    [why] = wait_for("an explanation", lambda: status(master)["explained"])
    assert (why["builder"], why["reason"]) == ("check", "label debian-12 is drained")
    assert "label debian-12 is drained" in told(master, "status")
    metric = f'latent_libvirt_waiting_because{{pool="{status(master)["name"]}",reason="drained"}} 1'
    wait_for("the metric", lambda: metric in scraped(where))
    line = f"request {job} of builder check has waited for"
    wait_for("the log", lambda: any(line in each for each in reversed(master.log.splitlines())))
    (logged,) = [each for each in master.log.splitlines() if line in each]
    assert logged.endswith(": label debian-12 is drained")
    assert lab.domains() == []

    told(master, "undrain", "debian-12")

    until_phase(master, "boot")


def test_a_label_whose_image_is_published_nowhere_says_so_and_what_to_do(
    make_master: MakeMaster,
) -> None:
    master = make_master(SHORT, settings=PoolSettings(image="{name: nowhere}"))

    def said() -> list[str]:
        (label,) = status(master)["labels"]
        unfit: list[str] = label["unfit"]
        return unfit

    [why] = wait_for("a look at the host's images", said)

    assert why.startswith("host here: image nowhere is not published in storage pool")
    assert "latent-libvirt image publish nowhere --uri" in why
    assert "image nowhere is not published" in " ".join(told(master, "status").split())


def test_a_sweep_frees_what_another_process_left_and_a_dry_run_only_says_so(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(RARELY_SWEPT + SHORT)
    wait_for("the first sweep", lambda: status(master)["hosts"][0]["usable"])
    (name,) = [m["name"] for m in master.get("masters")]
    overlay = lab.leave_overlay(Owner(name, "latent_libvirt"))

    looked = told(master, "sweep", "--dry-run")
    left = lab.overlays()
    freed = told(master, "sweep")

    assert looked == f"host here: would free overlay {overlay}\n"
    assert left == [overlay]
    assert freed == f"host here: freed overlay {overlay}\n"
    assert lab.overlays() == []
    assert told(master, "sweep") == "host here: nothing is left over\n"


def test_a_refused_file_shows_in_the_status(lab: Lab, make_master: MakeMaster) -> None:
    master = make_master(SHORT, settings=PoolSettings())
    pool = master.directory / "pool.yaml"

    pool.write_text(pool.read_text().replace("max_vms: 1,", "max_vms: one,"))

    refused = wait_for("the refusal", lambda: status(master)["refused"])
    assert "pool.yaml:2:" in refused
    assert "What was saved last is refused" in told(master, "status")


def test_without_a_master_the_command_says_so_and_a_killed_one_leaves_nothing_in_the_way(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(SHORT)
    master.kill()
    result = run(master, "status")
    assert result.returncode == 1
    assert "Error: no master answers at" in result.stderr
    assert "Connection refused." in result.stderr

    master.start()
    assert status(master)["used"] == 0
    master.stop()

    assert not (master.directory / "latent_libvirt.sock").exists()
    assert "no master with a pool runs in" in run(master, "status").stderr
