# SPDX-License-Identifier: GPL-2.0-only
"""VMs that exist without a job: spares, idle ones and held ones, with real guests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from buildmaster import BuildMaster, wait_for
from commands import COMMAND, run, status, told
from lab import STORAGE_POOL, Lab
from page_users import PAGE, PAGE_WITH_BUTTONS, audit, logged_in
from pools import (
    STEP_UNTIL_TOLD,
    UNTIL_TOLD,
    WORKER_BY_PROPERTY,
    MakeMaster,
    PoolSettings,
    go_on,
    write_pool,
)
from ready import LIKE_RESUMED, RESUMED
from typist import typing_into
from ui import accessibility, rows

# Resumed VMs have even the ID of their boot in common: each gets a name by its first build.
NAMING = (
    "test -e /var/tmp/name || cat /proc/sys/kernel/random/uuid >/var/tmp/name; cat /var/tmp/name"
)

TRIVIAL = f"""
factory = util.BuildFactory([
    steps.SetPropertyFromCommand(command={NAMING!r}, property="vm"),
])
"""

FAILING = """
factory = util.BuildFactory([steps.ShellCommand(command=["false"])])
"""

PROCESS = "echo boot $(cat /proc/sys/kernel/random/boot_id) process $(pgrep -x sleep)."

LEAVING_A_PROCESS = f"""
factory = util.BuildFactory([
    steps.ShellCommand(command="setsid sleep 98765 >/dev/null 2>&1 & "),
    steps.SetPropertyFromCommand(command={PROCESS + "| tee /var/tmp/process"!r},
                                 property="process"),
    steps.ShellCommand(command=["false"]),
])
"""

# The builder "release" has no VM. It holds the lock of the other one until it is told to end.
LOCKED = """
RELEASE = [util.MasterLock("release").access("exclusive")]
BuildmasterConfig["workers"].append(worker.LocalWorker("local"))
BuildmasterConfig["builders"][0].locks = RELEASE
BuildmasterConfig["builders"].append(
    util.BuilderConfig(
        name="release",
        workernames=["local"],
        factory=util.BuildFactory([UntilTold()]),
        locks=RELEASE,
    )
)
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check", "release"],
        properties=[util.StringParameter(name="label", default="")],
    ),
]
"""

ONE_SPARE = replace(RESUMED, max_vms=2, label_keys="spares: 1")


@pytest.fixture
def kept(make_ready_master: MakeMaster, ready_lab: Lab) -> Iterator[list[BuildMaster]]:
    """Give a list for masters whose pool keeps VMs; in the end they are to keep none."""
    masters: list[BuildMaster] = []
    yield masters
    for master in masters:
        keep_none(master, ready_lab, RESUMED)


def keep_none(master: BuildMaster, lab: Lab, settings: PoolSettings) -> None:
    write_pool(master.directory, lab.uri, settings)
    now = status(master)
    for vm in (*now["held"], *now["frozen"]):
        told(master, "release", vm["vm_id"])
    wait_for("the spares to end", partial(_has_no_spare, master))


def waiting_spare(master: BuildMaster, *, other_than: str = "") -> dict[str, Any]:
    """Return the status of a spare once one waits."""

    def look() -> dict[str, Any] | None:
        waiting = [vm for vm in status(master)["spares"] if vm["phase"] == "waiting"]
        return next((vm for vm in waiting if vm["vm_id"] != other_than), None)

    spare: dict[str, Any] = wait_for("a spare that waits", look)
    return spare


def how_to_look(master: BuildMaster) -> str:
    """Return what the step that failed first says of the VM that is held."""
    return said(master, 1, "vm is held")


def said(master: BuildMaster, number: int, name: str) -> str:
    """Return the logs called *name* of the steps of the build of that *number*."""
    (build,) = master.get(f"builders/1/builds?number={number}")
    steps = master.get(f"builds/{build['buildid']}/steps")
    logs = [log for step in steps for log in master.get(f"steps/{step['stepid']}/logs")]
    contents = [
        each["content"]
        for log in logs
        if log["name"] == name
        for each in master.get(f"logs/{log['logid']}/contents")
    ]
    return "".join(contents)


def leases(master: BuildMaster) -> list[dict[str, Any]]:
    """Return what the master has written down of its leases."""
    path = master.directory / "leases.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def test_a_job_takes_a_spare_over_and_another_takes_its_place(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster]
) -> None:
    master = make_ready_master(TRIVIAL, settings=ONE_SPARE)
    kept.append(master)
    spare = waiting_spare(master)

    with ready_lab.watching() as seen:
        job = master.force()
        assert master.wait_for_result(job) == "SUCCESS"
        waiting_spare(master, other_than=spare["vm_id"])

    wait_for("the lease to be written down", lambda: leases(master))
    (lease,) = leases(master)
    assert (lease["vm_id"], lease["way"]) == (spare["vm_id"], "spare")
    assert list(lease["phases"]) == ["assign", "attach", "build", "tear-down"]
    assert max(len(sample.domains) for sample in seen) <= 2


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_spare_outlives_its_master_and_serves_the_next_one(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster], end: str
) -> None:
    master = make_ready_master(TRIVIAL, settings=ONE_SPARE)
    kept.append(master)
    spare = waiting_spare(master)

    getattr(master, end)()
    assert ready_lab.domains() == [spare["domain"]]
    master.start()
    assert waiting_spare(master)["vm_id"] == spare["vm_id"]
    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    wait_for("the lease to be written down", lambda: leases(master))
    assert leases(master)[0]["vm_id"] == spare["vm_id"]


def test_a_spare_makes_room_for_a_job_of_another_label_and_for_none_whose_lock_is_held(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster]
) -> None:
    other = f"other: {{{LIKE_RESUMED}, spares: 1}}"
    settings = replace(RESUMED, max_vms=1, other_labels=other)
    factory = STEP_UNTIL_TOLD + TRIVIAL
    master = make_ready_master(factory, workers=WORKER_BY_PROPERTY, settings=settings, more=LOCKED)
    kept.append(master)
    spare = waiting_spare(master)
    holder = master.wait_for_build(master.force("release"))
    jobs = [master.force(label="debian-12") for _ in range(3)]

    why = f"lock release is held by release #{holder['number']}"
    wait_for("all to say what holds them", lambda: _reasons(master) == [why] * len(jobs))
    assert waiting_spare(master)["vm_id"] == spare["vm_id"]
    assert status(master)["used"] == 1
    assert "needs the room of spare" not in master.log

    with ready_lab.watching() as seen:
        go_on(master)
        assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS"] * len(jobs)
        waiting_spare(master, other_than=spare["vm_id"])

    assert f"needs the room of spare {spare['domain']}" in master.log
    assert max(len(sample.domains) for sample in seen) == 1


def _reasons(master: BuildMaster) -> list[str]:
    """Return why each request waits."""
    return [waiting["reason"] for waiting in status(master)["explained"]]


def test_a_spare_is_replaced_when_its_label_changes(lab: Lab, make_master: MakeMaster) -> None:
    settings = PoolSettings(max_vms=2, label_keys="spares: 1")
    master = make_master(TRIVIAL, settings=settings)
    spare = waiting_spare(master)

    write_pool(master.directory, lab.uri, replace(settings, memory="576MiB"))
    waiting_spare(master, other_than=spare["vm_id"])

    wait_for("it alone to be there", lambda: memory_of_domains(lab) == [576 * 1024])
    keep_none(master, lab, PoolSettings())


def memory_of_domains(lab: Lab) -> list[int]:
    """Return the memory of each domain, in KiB."""
    with lab.connection() as connection:
        return [domain.maxMemory() for domain in connection.listAllDomains()]


def test_a_vm_serves_as_many_builds_as_its_label_says_and_no_more(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    settings = replace(RESUMED, label_keys="max_builds_per_vm: 2\nidle_timeout: 2m")
    master = make_ready_master(TRIVIAL, settings=settings)

    jobs = [master.force() for _ in range(3)]

    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS"] * 3
    names = [master.builds(job)[0]["properties"]["vm"][0] for job in jobs]
    assert sorted(names.count(name) for name in set(names)) == [1, 2]
    (idle,) = wait_for("the last VM to idle", lambda: _in_phase(master, "idle"))
    told(master, "hold", idle["vm_id"], "--for", "10m")
    wait_for("it to be held", lambda: status(master)["held"])
    told(master, "release", idle["vm_id"])


def test_the_vm_of_a_failed_build_is_held_through_a_restart_until_it_is_released(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster]
) -> None:
    settings = replace(RESUMED, max_vms=2, label_keys="hold_on_failure: 1h\nmax_held: 1")
    master = make_ready_master(FAILING, settings=settings)
    kept.append(master)
    assert master.wait_for_result(master.force()) == "FAILURE"
    (held,) = wait_for("the VM to be held", lambda: status(master)["held"])

    assert master.wait_for_result(master.force()) == "FAILURE"
    wait_for("only one to be left", lambda: not status(master)["leases"])
    assert ready_lab.domains() == [held["domain"]]
    how = f"latent-libvirt shell {held['vm_id']}"
    wait_for("its page to say how to look", lambda: how in how_to_look(master))
    wait_for("the other page to say why", lambda: "max_held" in said(master, 2, "vm is not held"))

    assert f"id {held['vm_id']}) is held for 3h" in told(
        master, "hold", held["vm_id"], "--for", "3h"
    )
    master.stop()
    master.start()
    (again,) = wait_for("it to be held again", lambda: status(master)["held"])
    same = ("vm_id", "worker", "job")
    assert [again[key] for key in same] == [held[key] for key in same]
    assert again["job"]["number"] == 1
    assert 3600 < again["seconds_left"] < 3 * 3600
    _stays_up(ready_lab)

    told(master, "release", held["worker"])
    assert not ready_lab.leftovers()


def test_a_frozen_vm_leaves_its_slot_and_goes_on_under_the_next_master(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster]
) -> None:
    settings = replace(RESUMED, max_vms=1, label_keys="hold_on_failure: 1h\nfreeze: true")
    master = make_ready_master(LEAVING_A_PROCESS, settings=settings, more=PAGE_WITH_BUTTONS)
    kept.append(master)
    job = master.force()
    assert master.wait_for_result(job) == "FAILURE"
    before = master.builds(job)[0]["properties"]["process"][0]
    (frozen,) = wait_for("the VM to be frozen", lambda: status(master)["frozen"])
    assert ready_lab.domains() == []

    _is_on_the_page(master, frozen)

    assert status(master)["used"] == 0
    _exports(master, ready_lab, frozen["vm_id"], settings)
    master.kill()
    master.start()

    _thaw_on_the_page(master, frozen)
    (held,) = status(master)["held"]
    assert (held["vm_id"], held["job"]) == (frozen["vm_id"], frozen["job"])
    with typing_into((COMMAND, "shell", frozen["vm_id"]), cwd=master.directory) as operator:
        operator.read_until(":~# ")
        operator.type("cat /var/tmp/process; " + PROCESS + "; echo over $((5 * 5))\r")
        assert operator.read_until("over 25").count(before) == 2
    told(master, "release", f"check/{frozen['job']['number']}")
    assert not ready_lab.leftovers()


def _thaw_on_the_page(master: BuildMaster, frozen: dict[str, Any]) -> None:
    """Thaw a VM in a browser: first when its host is drained, which is waited for, and cancelled.

    Then when nothing is in the way.
    """
    host, vm = frozen["host"], f"{frozen['worker']}, id {frozen['vm_id']}"
    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "admin")
        told(master, "drain", host)
        why = f"host {host} is drained ('latent-libvirt undrain' ends that)"
        browser.click(f"Thaw {vm}")
        browser.wait_for_text(f"waits first, since {why}. Then it continues in slot 1")
        assert accessibility(browser) == []
        browser.click(f"Thaw {vm}")
        browser.wait_for_text("stays frozen for now, since")
        browser.wait_for_text(f"waits to be thawed: {why}")
        browser.click(f"Do not thaw {vm}")
        browser.wait_for_text("stay frozen? It waits to be thawed")
        browser.click(f"Do not thaw {vm}")
        wait_for("no wait", lambda: not status(master)["frozen"][0]["is_waiting"])
        told(master, "undrain", host)
        browser.click(f"Thaw {vm}")
        browser.wait_for_text(f"id {frozen['vm_id']}? It continues in slot 1 of host {host}")
        browser.click(f"Thaw {vm}")
        browser.wait_for_text("is held again.")
        wait_for("it to be held", lambda: rows(browser, "Held VMs"))
        assert browser.errors == []
    lines = [line for line in audit(master) if "thaw" in line["command"]]
    done = [(line["command"], line["outcome"], line["user"]) for line in lines]
    assert done == [(each, "done", "admin") for each in ("thaw", "cancel_thaw", "thaw")]


def _is_on_the_page(master: BuildMaster, frozen: dict[str, Any]) -> None:
    """See a frozen VM in a browser, with the command that thaws it."""
    with Browser(f"http://127.0.0.1:{master.web_port}/#/vms") as browser:
        (row,) = wait_for("it to be shown", lambda: rows(browser, "Frozen VMs"))
        assert accessibility(browser) == []
        assert browser.errors == []
    assert row[:4] == [frozen[key] for key in ("worker", "label", "host", "domain")]
    assert row[4].endswith("MiB")
    assert re.match(r"5\dm", row[6])
    assert row[7] == f"check #{frozen['job']['number']}"
    assert row[8:] == [frozen["vm_id"], f"latent-libvirt thaw {frozen['vm_id']}"]
    assert 0 < frozen["seconds"] < 600
    assert frozen["trouble"] == ""


def test_a_vm_that_is_to_be_held_outlives_a_master_that_is_killed_and_names_itself_to_who_waits(
    ready_lab: Lab, make_ready_master: MakeMaster, kept: list[BuildMaster]
) -> None:
    master = make_ready_master(UNTIL_TOLD, settings=replace(RESUMED, max_vms=1), more=PAGE)
    kept.append(master)
    job = master.force()
    (first,) = wait_for("the build to run", lambda: _in_phase(master, "build"))
    told(master, "hold", first["worker"], "--for", "1h")

    master.kill()
    master.start()
    (held,) = wait_for("the VM to be held", lambda: status(master)["held"])
    assert (held["vm_id"], held["worker"]) == (first["vm_id"], first["worker"])
    assert held["job"]["number"] == 1
    assert ready_lab.domains() == [first["domain"]]
    _a_request_waits_for(master, held)

    told(master, "release", held["vm_id"])
    (second,) = wait_for("the build to run again", lambda: _in_phase(master, "build"))
    assert second["hold_for"] is None, "the hold was for the VM alone"
    told(master, "hold", second["worker"])
    told(master, "hold", second["worker"], "--cancel")
    go_on(master)
    assert master.wait_for_result(job) == "SUCCESS"
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())
    assert said(master, 2, "vm is held") == ""


def _a_request_waits_for(master: BuildMaster, held: dict[str, Any]) -> None:
    """See that a request says, also on the page, that a held VM has its place."""
    frees = f"1 of its VMs is held: latent-libvirt release {held['vm_id']} frees its place"

    wait_for("the reason", lambda: any(frees in reason for reason in _reasons(master)))
    with Browser(f"{master.ui}#/vms") as browser:
        (row,) = wait_for("the request", lambda: rows(browser, "Waiting requests"))
        browser.wait_for_text(frees)
        assert row[1] == "check"
        ((worker, *_more),) = rows(browser, "Held VMs")
        assert worker == held["worker"]
        assert browser.errors == []


def test_a_vm_that_is_held_goes_at_its_deadline(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(UNTIL_TOLD)
    job = master.force()
    (building,) = wait_for("the build to run", lambda: _in_phase(master, "build"))

    told(master, "hold", building["worker"], "--for", "2s")
    go_on(master)

    assert master.wait_for_result(job) == "SUCCESS"
    wait_for("the VM to be held", lambda: "is held until" in master.log)
    wait_for("its page to say so", lambda: "is held for" in said(master, 1, "vm is held"))
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())
    assert "its time is up" in master.log


def _has_no_spare(master: BuildMaster) -> bool:
    return not status(master)["spares"]


def _in_phase(master: BuildMaster, phase: str) -> list[dict[str, Any]]:
    return [vm for vm in status(master)["leases"] if vm["phase"] == phase]


def _stays_up(lab: Lab) -> None:
    """See that a guest whose worker has been let go does not power itself off.

    Its worker gives up after five logins that fail, with pauses that add up to about 15 s.
    """
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        assert lab.domains()
        time.sleep(1)


def _exports(master: BuildMaster, lab: Lab, vm_id: str, settings: PoolSettings) -> None:
    """Export a frozen VM once its label allows that, and search the file for its password."""
    file = master.directory / "vm.tar"
    refused = run(master, "export", vm_id, str(file))
    assert (refused.returncode, file.exists()) == (1, False)
    assert "labels.debian-12.export" in refused.stderr

    allowed = replace(settings, label_keys=f"{settings.label_keys}\nexport: true")
    write_pool(master.directory, lab.uri, allowed)
    wait_for("the file to be read", lambda: "export false" in master.log)
    told(master, "export", vm_id, str(file))

    audit = master.directory / "vms-audit.log"
    wait_for("the outcome to be noted", lambda: '"done"' in audit.read_text())
    lines = map(json.loads, audit.read_text().splitlines())
    noted = [tuple(line[key] for key in ("command", "name", "from", "outcome")) for line in lines]
    outcomes = ("refused", "allowed", "done")
    assert noted == [("export", vm_id, "local", outcome) for outcome in outcomes]
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        (memory,) = [name for name in pool.listVolumes() if f"{vm_id}.state" in name]
        path = Path(pool.storageVolLookupByName(memory).path())
    password = re.compile(rb"llvp-[A-Za-z0-9_-]{43}")
    assert password.search(path.read_bytes()), "what is searched for can be found"
    assert not password.search(file.read_bytes())
    file.unlink()
