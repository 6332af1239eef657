# SPDX-License-Identifier: GPL-2.0-only
"""Jobs in VMs, as users and operators see them: a real master, libvirtd and guests."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import tiny_guests
from browser import Browser
from buildmaster import BuildMaster, wait_for
from commands import status, told
from lab import Lab
from latent_libvirt.images.local import LocalImage
from page_users import PAGE
from pools import (
    UNTIL_TOLD,
    WORKER_BY_BROKEN_RENDERER,
    WORKER_BY_PROPERTY,
    MakeMaster,
    PoolSettings,
    go_on,
    write_pool,
)
from ready import LIKE_RESUMED, RESUMED

MARK = "/var/tmp/left-by-an-earlier-job"

MARKING = f"""
factory = util.BuildFactory([
    steps.SetPropertyFromCommand(
        command=["cat", "/proc/sys/kernel/random/boot_id"], property="boot"
    ),
    steps.SetPropertyFromCommand(command=["id", "-un"], property="user"),
    steps.SetPropertyFromCommand(command=["cat", "/etc/machine-id"], property="machine_id"),
    steps.ShellCommand(name="clean", command=["test", "!", "-e", "{MARK}"], haltOnFailure=True),
    steps.ShellCommand(name="mark", command=["sudo", "-n", "touch", "{MARK}"], haltOnFailure=True),
])
"""

SUICIDAL = """
factory = util.BuildFactory([steps.ShellCommand(command="sudo kill -9 $PPID; sleep 60")])
"""

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "5"])])
"""


def test_each_job_gets_a_vm_that_no_other_job_has_seen(lab: Lab, make_master: MakeMaster) -> None:
    """Upstream's worker boots the same disk again (buildbot #7122)."""
    master = make_master(MARKING)

    jobs = [master.force() for _ in range(2)]

    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS", "SUCCESS"]
    properties = [master.builds(job)[0]["properties"] for job in jobs]
    for name in ("boot", "machine_id"):
        assert len({each[name][0] for each in properties}) == 2
    # systemd would take the UUID of the slot's domain for it.
    assert properties[0]["vm_domain"] == properties[1]["vm_domain"]
    wait_for("everything to be freed", lambda: not lab.leftovers())


def test_a_label_may_come_from_the_properties_of_a_build_and_names_the_user_of_its_worker(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    as_root = f"as-root: {{{LIKE_RESUMED}, user: root}}"
    settings = replace(RESUMED, max_vms=2, other_labels=as_root)
    master = make_ready_master(MARKING, workers=WORKER_BY_PROPERTY, settings=settings)

    jobs = {label: master.force(label=label) for label in ("debian-12", "as-root")}

    assert [master.wait_for_result(job) for job in jobs.values()] == ["SUCCESS"] * 2
    found = {label: master.builds(job)[0]["properties"] for label, job in jobs.items()}
    assert {label: its["vm_label"][0] for label, its in found.items()} == {n: n for n in jobs}
    assert {label: its["user"][0] for label, its in found.items()} == {
        "debian-12": "worker",
        "as-root": "root",
    }


def test_a_build_is_told_which_vm_it_has(
    ready_lab: Lab, make_ready_master: MakeMaster, image: LocalImage
) -> None:
    master = make_ready_master(SLEEPING)
    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    properties = master.builds(job)[0]["properties"]
    told = {name: value for name, (value, _) in properties.items() if name.startswith("vm_")}
    told.pop("vm_usage", None)  # that comes when the VM has ended, and has other tests
    assert re.fullmatch("[0-9a-f]+", told.pop("vm_id"))
    assert told == {
        "vm_label": "debian-12",
        "vm_host": "here",
        "vm_domain": "latent-libvirt-1",
        "vm_image": image.description.digest,
        "vm_phases": properties["vm_phases"][0],
    }
    # Buildbot's REST API sorts what its database keeps in order.
    assert {"resume", "attach"} <= set(properties["vm_phases"][0])


def test_a_burst_stays_within_the_cap_and_the_rest_stays_unclaimed(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(UNTIL_TOLD, settings=replace(RESUMED, label_max_vms=3))

    with ready_lab.watching() as seen:
        jobs = [master.force() for _ in range(3)]
        master.wait_for_build(jobs[0])
        claimed = [r for r in master.get("buildrequests") if r["claimed"] and not r["complete"]]
        go_on(master)
        results = [master.wait_for_result(job) for job in jobs]

    assert len(claimed) == 1
    assert results == ["SUCCESS"] * 3
    assert max(len(sample.domains) for sample in seen) == 1


def test_a_vm_killed_during_a_build_is_told_at_once_and_the_job_runs_again(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    """What the dead VM leaves is freed too."""
    master = make_ready_master(UNTIL_TOLD)
    job = master.force()
    build = _until_building(master, job)

    ready_lab.destroy_domains()
    wait_for("the VM to be lost", lambda: master.results(job)[:1] == ["RETRY"])
    go_on(master)

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["RETRY", "SUCCESS"]
    master.wait_for_logs(build, "somebody destroyed its domain")
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())


def test_a_job_that_kills_its_own_worker_is_not_retried_for_ever(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    """Buildbot #5354: to Buildbot, each time, a worker was lost by chance."""
    master = make_ready_master(SUICIDAL, settings=replace(RESUMED, launch_attempts=2))
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert master.results(job) == ["RETRY", "RETRY", "EXCEPTION"]
    first, _, last = master.builds(job)
    master.wait_for_logs(first, "VM latent-libvirt-1")
    master.wait_for_logs(last, "giving up: this job has lost 2 VMs")


def test_libvirtd_restarted_in_the_middle_of_a_build_loses_nothing(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    """Upstream's worker wants a restart of the master."""
    master = make_ready_master(UNTIL_TOLD)
    job = master.force()
    _until_building(master, job)

    ready_lab.sandbox.kill()
    ready_lab.sandbox.restart()
    wait_for("the connection", lambda: master.log.count("host here: connected to") > 1)
    go_on(master)

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["SUCCESS"]
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())


def test_a_job_that_is_cancelled_while_its_vm_boots_leaves_nothing(
    lab: Lab, make_master: MakeMaster, image: LocalImage, tmp_path: Path
) -> None:
    """The boot of the guest never ends."""
    lab.publish(tiny_guests.make(tmp_path / "image", image, "booting", tiny_guests.SILENT))
    settings = PoolSettings(image="{name: booting}", memory="128MiB", boot_timeout="1h")
    master = make_master(SLEEPING, settings=settings)
    job = master.force()
    wait_for("the VM to boot", lambda: [v["phase"] for v in status(master)["leases"]] == ["boot"])

    master.cancel(master.builds(job)[0])

    assert master.wait_for_result(job) == "CANCELLED"
    (build,) = master.builds(job)
    (preparation,) = master.get(f"builds/{build['buildid']}/steps")
    assert preparation["state_string"].startswith("cancelled while booting on host here")
    wait_for("everything to be freed", lambda: not lab.leftovers())


def test_an_unknown_label_ends_the_job_with_a_sentence_that_says_what_to_change(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(SLEEPING, workers=WORKER_BY_PROPERTY)
    job = master.force(label="debian-21")

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert master.builds(job)[0]["state_string"] == "no VM: label 'debian-21' is not configured"
    assert "Traceback" not in text
    assert "The pool's labels: debian-12." in text


def test_a_job_without_the_property_that_names_its_label_is_told_which_one_is_missing(
    lab: Lab, make_master: MakeMaster
) -> None:
    by_flavour = WORKER_BY_PROPERTY.replace('Property("label")', 'Property("flavour")')
    master = make_master(SLEEPING, workers=by_flavour)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    text = master.logs(master.builds(job)[0])
    assert "the build has no property 'flavour'" in text
    assert "is not configured" not in text


def test_a_label_that_cannot_be_rendered_ends_the_job_and_holds_up_no_other(
    lab: Lab, make_master: MakeMaster
) -> None:
    """Buildbot #6251: an error while a worker is chosen stalls the queue."""
    master = make_master(SLEEPING, workers=WORKER_BY_BROKEN_RENDERER)
    jobs = [master.force() for _ in range(2)]

    assert [master.wait_for_result(job) for job in jobs] == ["EXCEPTION", "EXCEPTION"]
    text = master.logs(master.builds(jobs[0])[0])
    assert "worker 'by-hand': its label cannot be rendered" in text
    assert "KeyError: 'no such property'" in text


def test_a_master_that_is_stopped_takes_its_vms_with_it(lab: Lab, make_master: MakeMaster) -> None:
    master = make_master(UNTIL_TOLD, settings=PoolSettings(max_vms=2))
    _until_building(master, master.force())
    master.force()
    wait_for("a second VM to boot", lambda: len(lab.domains()) == 2)

    master.stop()

    assert not lab.leftovers()


def test_a_missing_image_ends_the_job_with_a_sentence_that_says_what_to_do(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(SLEEPING, settings=PoolSettings(image="{volume: nowhere.qcow2}"))
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert "has no volume 'nowhere.qcow2'" in master.logs(master.builds(job)[0])
    assert not lab.leftovers()


def test_a_domain_that_libvirt_refuses_leaves_no_overlay(lab: Lab, make_master: MakeMaster) -> None:
    """Upstream's worker leaks the clone."""
    settings = PoolSettings(network="{network: nowhere}", launch_attempts=1)
    master = make_master(SLEEPING, settings=settings)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert "Network not found" in master.logs(master.builds(job)[0])
    assert not lab.leftovers()


def test_a_job_that_fails_does_not_touch_the_connection_of_others(
    lab: Lab, make_master: MakeMaster
) -> None:
    """One error of libvirt reset the connection of all workers."""
    settings = PoolSettings(network="{network: nowhere}", launch_attempts=3)
    master = make_master(SLEEPING, settings=settings)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert master.results(job) == ["EXCEPTION"]
    told = master.logs(master.builds(job)[-1])
    assert "Network not found" in told
    assert "giving up" not in told, "another VM on the same host would not help"
    assert "in back-off" not in master.log
    assert master.log.count("host here: connected to") == 1


def test_the_disk_of_a_vm_is_on_its_host_and_nowhere_else(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    """Upstream's images must be on the master's own disk (buildbot #2896)."""
    master = make_ready_master(UNTIL_TOLD)
    job = master.force()
    _until_building(master, job)

    assert len(ready_lab.overlays()) == 1
    assert not list(master.directory.rglob("*.qcow2"))
    go_on(master)
    assert master.wait_for_result(job) == "SUCCESS"


def test_a_reconfig_changes_labels_and_keeps_the_vm_of_a_running_build(
    lab: Lab, make_master: MakeMaster
) -> None:
    """Upstream's worker does not see changes of image or URI."""
    master = make_master(UNTIL_TOLD, settings=PoolSettings(max_vms=2))
    job = master.force()
    _until_building(master, job)
    running = lab.domains()

    changed = PoolSettings(label_max_vms=1, slots=1, memory="640MiB")
    write_pool(master.directory, lab.uri, changed)
    master.reconfig()

    assert lab.domains() == running
    go_on(master)
    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["SUCCESS"]
    wait_for("the VM of the first build to go", lambda: not lab.domains())
    with lab.watching() as seen:
        assert master.wait_for_result(master.force()) == "SUCCESS"
    assert {640 * 1024} == {memory for sample in seen for memory in sample.memory}


def test_a_host_that_is_taken_out_of_the_configuration_keeps_its_running_build(
    lab: Lab, make_master: MakeMaster
) -> None:
    """The new entry is for the same hypervisor: its first sweep meets a VM it did not start."""
    master = make_master(UNTIL_TOLD)
    job = master.force()
    _until_building(master, job)

    write_pool(master.directory, lab.uri, PoolSettings(host="there"))
    master.reconfig()
    go_on(master)

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["SUCCESS"]
    following = master.force()
    assert master.wait_for_result(following) == "SUCCESS"
    assert master.builds(following)[0]["properties"]["vm_host"][0] == "there"


def test_kvm_is_used_only_where_it_works_and_is_tried_once(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(SLEEPING, settings=replace(RESUMED, accelerator="auto"))
    assert master.wait_for_result(master.force()) == "SUCCESS"
    master.stop()
    master.start()
    assert master.wait_for_result(master.force()) == "SUCCESS"

    tried = master.log.count("trying whether KVM works")
    works, fails = master.log.count("KVM works\n"), master.log.count("NO WORKING KVM")
    assert tried <= 1
    assert (works - tried, fails) in {(2, 0), (0, 2)}


def test_a_graceful_shutdown_waits_for_the_guest_before_the_disk_goes(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    """Upstream's worker deletes the disk under a guest that still runs."""
    master = make_ready_master(MARKING, settings=replace(RESUMED, shutdown="graceful"))
    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    with ready_lab.watching() as seen:
        wait_for("everything to be freed", lambda: not ready_lab.leftovers())
    assert all(len(sample.overlays) >= len(sample.domains) for sample in seen)
    assert "did not shut down" not in master.log


def _until_building(master: BuildMaster, job: int) -> dict[str, object]:
    build = master.wait_for_build(job)
    wait_for(
        "the build's first step",
        lambda: [
            step
            for step in master.get(f"builds/{build['buildid']}/steps")
            if step["name"] != "worker_preparation" and step["started_at"]
        ],
    )
    return build


TRIGGERS = """
factory = util.BuildFactory([steps.Trigger(schedulerNames=["children"], waitForFinish=True)])
"""

CHILD = """
BuildmasterConfig["builders"].append(
    util.BuilderConfig(
        name="child",
        workernames=[w.name for w in workers],
        factory=util.BuildFactory([steps.ShellCommand(command=["true"])]),
        collapseRequests=False,
    )
)
BuildmasterConfig["schedulers"].append(
    schedulers.Triggerable(name="children", builderNames=["child"])
)
"""


def test_builds_that_wait_for_children_of_their_own_label_leave_them_room(
    make_ready_master: MakeMaster,
) -> None:
    settings = replace(RESUMED, max_vms=2, label_keys="reserve_for_children: 1")
    master = make_ready_master(TRIGGERS, settings=settings, more=CHILD)

    jobs = [master.force() for _ in range(2)]

    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS"] * 2


TELLS_AT_ONCE = """
from latent_libvirt.master.queue import waiting
waiting.TELL_AFTER = 0.0
"""

WITH_THE_SAME_LOCK = """
release = util.MasterLock("release").access("exclusive")
for each in BuildmasterConfig["builders"]:
    each.locks = [release]
"""


def test_a_build_that_waits_in_a_circle_for_the_vm_and_the_lock_of_its_parent_says_so(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(TELLS_AT_ONCE + TRIGGERS, more=CHILD + WITH_THE_SAME_LOCK + PAGE)
    job = master.force()

    (why,) = wait_for("an explanation", lambda: status(master)["explained"])

    assert (why["builder"], why["kind"]) == ("child", "circle")
    full, lock = why["reason"].split("; ")
    assert full.startswith("max_vms of the master is reached (1), and each VM there has a build")
    assert full.endswith("Raise the cap, or keep room with reserve_for_children")
    assert lock.startswith("lock release is held by check #1, which waits for this request")
    assert why["reason"] in " ".join(told(master, "status").split())
    wait_for("the log to say so", lambda: f" s: {why['reason']}" in master.log)
    assert "of builder child has waited for" in master.log
    with Browser(f"{master.ui}#/vms") as browser:
        browser.wait_for_text(why["reason"])
        assert browser.errors == []

    (parent,) = master.builds(job)
    master.cancel(parent)

    assert master.wait_for_result(job) == "CANCELLED"
    wait_for("the child to end", lambda: not master.get("buildrequests?complete=false"))
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())
