# SPDX-License-Identifier: GPL-2.0-only
"""Jobs in VMs that were resumed: what they share with each other (nothing), and their disk."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from buildmaster import BuildMaster, wait_for
from commands import status
from lab import STORAGE_POOL, Lab
from latent_libvirt.host import names
from latent_libvirt.images.local import LocalImage
from pools import MakeMaster, PoolSettings, write_pool
from ready import RESUMED
from tiny_guests import make as make_tiny

WHAT_IT_IS = """
import json, os, random, secrets, socket, subprocess, time, uuid
def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
print(json.dumps({
    "urandom": os.urandom(16).hex(),
    "random": random.random(),
    "secrets": secrets.token_hex(16),
    "openssl": said("openssl", "rand", "-hex", "16"),
    "uuid": str(uuid.uuid4()),
    "kernel": open("/proc/sys/kernel/random/uuid").read().strip(),
    "hash": hash("of a text"),
    "mktemp": said("mktemp", "-u"),
    "machine-id": open("/etc/machine-id").read().strip(),
    "time": time.time(),
    "host name": socket.gethostname(),
    "boot": open("/proc/sys/kernel/random/boot_id").read().strip(),
}))
"""

NEVER_TWICE = (
    "urandom",
    "random",
    "secrets",
    "openssl",
    "uuid",
    "kernel",
    "hash",
    "mktemp",
    "machine-id",
    "time",
)

MARK = "/var/tmp/left-by-an-earlier-job"

TELLING = f"""
factory = util.BuildFactory([
    steps.SetPropertyFromCommand(command=["python3", "-c", {WHAT_IT_IS!r}], property="facts"),
    steps.ShellCommand(name="clean", command=["test", "!", "-e", "{MARK}"], haltOnFailure=True),
    steps.ShellCommand(
        name="nothing of a rehearsal",
        command='test -z "$(ls -d /run/latent-libvirt-rehearsal-* 2>/dev/null)"',
        haltOnFailure=True,
    ),
    steps.ShellCommand(name="mark", command=["touch", "{MARK}"], haltOnFailure=True),
    steps.ShellCommand(
        name="the address is still its own",
        command='test -s /run/latent-libvirt/lease-seconds && '
        'test -z "$(sudo /usr/lib/latent-libvirt/renew-address 2>&1)"',
        haltOnFailure=True,
    ),
])
"""

FILLING = """
import hashlib, os
SIZE = 1 << 30
block = os.urandom(1 << 20)
with open("large", "wb") as file:
    for number in range(SIZE >> 20):
        file.write(number.to_bytes(8, "big") + block[8:])
    file.flush()
    os.fsync(file.fileno())
with open("large", "rb") as file:
    for number in range(SIZE >> 20):
        assert file.read(1 << 20) == number.to_bytes(8, "big") + block[8:], number
"""

WRITING_MUCH = f"""
factory = util.BuildFactory([
    steps.ShellCommand(name="fill", command=["python3", "-c", {FILLING!r}], haltOnFailure=True),
    steps.ShellCommand(name="read all", command="cat /usr/bin/* /usr/lib/x86_64-linux-gnu/* "
        "2>/dev/null | sha256sum", haltOnFailure=True),
])
"""

TRIVIAL = """
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
"""

RESUMING = PoolSettings(max_vms=2, slots=2, start="resume")


@pytest.fixture
def resuming(make_master: MakeMaster, lab: Lab) -> Iterator[list[BuildMaster]]:
    """Give a list for masters whose VMs are resumed; in the end nothing is to be saved."""
    masters: list[BuildMaster] = []
    yield masters
    for master in masters:
        write_pool(master.directory, lab.uri, PoolSettings())
        wait_for("nothing to be saved", lambda: not lab.saved())


def saved_slots(master: BuildMaster) -> set[int]:
    (host,) = status(master)["hosts"]
    return {state["slot"] for state in host["saved"]}


def wait_until_saved(master: BuildMaster, *slots: int) -> None:
    wait_for("slots to be saved", lambda: saved_slots(master) >= set(slots))


def saved_volumes(lab: Lab, slot: int) -> list[str]:
    """Return the names of the volumes that a slot is saved as, or is about to be."""
    parsed = {name: names.OwnedVolume.saved(name) for name in lab.saved()}
    return [name for name, of in parsed.items() if of is not None and of.slot == slot]


def leases(master: BuildMaster, count: int) -> list[dict[str, Any]]:
    """Return what the master has written down of its leases, once that is so many."""
    path = master.directory / "leases.jsonl"

    def written() -> list[str] | None:
        lines = path.read_text().splitlines() if path.exists() else []
        return lines if len(lines) >= count else None

    return [json.loads(line) for line in wait_for("the leases to end", written)]


def facts_of(master: BuildMaster, job: int) -> dict[str, Any]:
    assert master.wait_for_result(job) == "SUCCESS"
    facts: dict[str, Any] = json.loads(master.builds(job)[0]["properties"]["facts"][0])
    return facts


def test_vms_resumed_from_the_same_states_share_nothing_and_each_is_clean(
    make_ready_master: MakeMaster,
) -> None:
    master = make_ready_master(TELLING, settings=replace(RESUMED, max_vms=2))
    wait_until_saved(master, 1, 2)

    before = time.time()
    jobs = [master.force() for _ in range(6)]
    facts = [facts_of(master, job) for job in jobs]
    after = time.time()

    ended = leases(master, 6)
    assert [lease["way"] for lease in ended] == ["resume"] * 6
    assert list(ended[0]["phases"])[:3] == ["prepare", "resume", "assign"]
    assert len({fact["boot"] for fact in facts}) <= 2, "they were resumed"
    for what in NEVER_TWICE:
        assert len({fact[what] for fact in facts}) == 6, what
    for fact in facts:
        assert before - 5 < fact["time"] < after + 5
        assert fact["host name"].startswith("debian-12-")


def test_the_first_job_does_not_wait_until_something_is_saved(
    lab: Lab, make_master: MakeMaster, resuming: list[BuildMaster]
) -> None:
    master = make_master(TRIVIAL, settings=RESUMING)
    resuming.append(master)

    jobs = [master.force() for _ in range(2)]

    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS"] * 2
    assert "boot" in leases(master, 1)[0]["phases"]


def test_a_state_that_is_damaged_is_thrown_away_and_the_job_runs(
    lab: Lab, make_master: MakeMaster, resuming: list[BuildMaster]
) -> None:
    settings = PoolSettings(max_vms=1, slots=1, start="resume")
    master = make_master(TRIVIAL, settings=settings)
    resuming.append(master)
    wait_until_saved(master, 1)
    for path in saved_files(lab, ".state"):
        os.truncate(path, path.stat().st_size // 2)

    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["SUCCESS"]
    assert list(leases(master, 1)[0]["phases"])[:4] == ["prepare", "resume", "clone", "boot"]
    assert "is thrown away, its slot boots" in master.log
    wait_until_saved(master, 1)


def test_a_spare_is_a_resumed_vm_that_waits(ready_lab: Lab, make_ready_master: MakeMaster) -> None:
    settings = replace(RESUMED, max_vms=2, label_keys="spares: 1")
    master = make_ready_master(TELLING, settings=settings)
    wait_until_saved(master, 1, 2)

    jobs = []
    for _ in range(2):
        wait_for("a spare", partial(_waits, master))
        jobs.append(master.force())
        assert master.wait_for_result(jobs[-1]) == "SUCCESS"

    assert [lease["way"] for lease in leases(master, 2)] == ["spare"] * 2
    first, second = (facts_of(master, job) for job in jobs)
    for what in NEVER_TWICE:
        assert first[what] != second[what], what
    end_spares(master, ready_lab)


def end_spares(master: BuildMaster, lab: Lab) -> None:
    """Want no spares any more, for they would outlive the master."""
    write_pool(master.directory, lab.uri, RESUMED)
    wait_for("the spares to go", lambda: not lab.domains())


def test_a_resumed_spare_outlives_its_master_and_so_does_what_is_below_it(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(TRIVIAL, settings=replace(RESUMED, label_keys="spares: 1"))
    wait_until_saved(master, 1, 2)
    wait_for("a spare", partial(_waits, master))
    (spare,) = status(master)["spares"]

    master.kill()
    saved = ready_lab.saved()
    master.start()
    wait_for("the spare to be adopted", partial(_waits, master))
    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    (lease,) = leases(master, 1)
    assert (lease["vm_id"], lease["way"]) == (spare["vm_id"], "spare")
    assert ready_lab.saved() == saved
    end_spares(master, ready_lab)


def _waits(master: BuildMaster) -> bool:
    return any(spare["phase"] == "waiting" for spare in status(master)["spares"])


def test_saved_states_outlive_a_killed_master(
    lab: Lab, make_master: MakeMaster, resuming: list[BuildMaster]
) -> None:
    master = make_master(TRIVIAL, settings=RESUMING)
    resuming.append(master)
    wait_until_saved(master, 1)
    # What is not whole when the master is killed is no saved state, and goes.
    wait_for("the next slot to be under way", lambda: saved_volumes(lab, 2))
    there = saved_volumes(lab, 1)

    master.kill()
    master.start()

    wait_for("what is saved to be found", lambda: saved_slots(master))
    assert saved_volumes(lab, 1) == there


def test_a_newer_image_is_saved_again(
    lab: Lab,
    make_master: MakeMaster,
    resuming: list[BuildMaster],
    image: LocalImage,
    tmp_path: Path,
) -> None:
    """The images are tiny: nothing is built in their VMs."""
    lab.publish(make_tiny(tmp_path / "old", image, "tiny", SAVEABLE))
    settings = PoolSettings(max_vms=1, slots=1, start="resume", image="{name: tiny}")
    master = make_master(TRIVIAL, settings=settings)
    resuming.append(master)
    wait_until_saved(master, 1)
    before = set(lab.saved())

    lab.publish(make_tiny(tmp_path / "new", image, "tiny", SAVEABLE + "\n"))

    wait_for("the old state to go", lambda: not before & set(lab.saved()))
    wait_until_saved(master, 1)


SAVEABLE = """
while :; do
    hear
    case $line in
        *'"hello"'*) echo '{"type": "waiting", "protocol": 1, "saves": true}' >&3 ;;
        *'"save"'*) say saveable ;;
    esac
done
"""


def test_the_file_system_that_was_saved_is_whole(ready_lab: Lab, tmp_path: Path) -> None:
    disk, _of_the_other_slot = saved_files(ready_lab, ".qcow2")

    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", disk, raw], check=True)
    checked = subprocess.run(
        ["/sbin/e2fsck", "-f", "-n", f"{raw}?offset={partition_start(raw)}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def partition_start(disk: Path) -> int:
    """Return where the first partition begins, in bytes, by the disk's MBR."""
    with disk.open("rb") as file:
        return int.from_bytes(file.read(512)[454:458], "little") * 512


def test_a_build_that_writes_and_reads_much_finds_what_it_wrote(
    make_ready_master: MakeMaster,
) -> None:
    master = make_ready_master(WRITING_MUCH)
    wait_until_saved(master, 1, 2)

    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    assert leases(master, 1)[0]["way"] == "resume"


def saved_files(lab: Lab, end: str) -> list[Path]:
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        names = [name for name in lab.saved() if name.endswith(end)]
        return [Path(pool.storageVolLookupByName(name).path()) for name in names]
