# SPDX-License-Identifier: GPL-2.0-only
"""What ``latent-libvirt doctor`` finds on a real hypervisor with one thing wrong at a time."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

import children
import tiny_guests
import unfit_volumes
from buildmaster import wait_for
from fake_images import fake_image
from lab import FOREIGN_DOMAIN, STORAGE_POOL, Lab
from latent_libvirt.config import load
from latent_libvirt.config.listener import Listener
from latent_libvirt.doctor import connectivity, exposed
from latent_libvirt.doctor.finding import Finding, Status
from latent_libvirt.doctor.host_checks import Options
from latent_libvirt.doctor.run import Round
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    upload,
)
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd
from pools import PoolSettings, write_pool
from unfit_volumes import UNFIT

WITHOUT_VMS = Options(vms=False)
COMMAND = [sys.executable, "-c", "from latent_libvirt.cli import main; main()", "doctor"]

# What they say of a loaded machine is no test of it.
MEASURED = ("capabilities", "VM of debian-12", "reach of guests")

THIS_PROCESS = Path(f"/proc/{os.getpid()}/comm").read_text().strip()


class Notes:
    """Takes what is found."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.hosts: list[str] = []

    def add(self, host: str | None, finding: Finding) -> None:
        self.findings.append(finding)

    def done(self, host: str) -> None:
        self.hosts.append(host)

    def of(self, check: str) -> Finding:
        """Return the first finding of a check."""
        return next(finding for finding in self.findings if finding.check == check)

    def wrong(self) -> list[str]:
        return [f"{f.check}: {f.brief}" for f in self.findings if f.status is Status.FAILED]


Examine = Callable[..., Awaitable[Notes]]


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """Give a way to examine a hypervisor, within the test's own process."""

    async def examine(
        uri: str,
        settings: PoolSettings | None = None,
        *,
        options: Options = WITHOUT_VMS,
        listener: Listener | None = None,
    ) -> Notes:
        write_pool(tmp_path, uri, settings or PoolSettings())
        notes = Notes()
        config = load(tmp_path / "pool.yaml")
        round_ = Round(config, ["here"], options, tmp_path / "state", listener)
        await round_.examine(notes, reactor)
        assert notes.hosts == ["here"]
        return notes

    return examine


@contextmanager
def command(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command, with the state in *directory*, for the length of a ``with`` block."""
    state = os.environ | {"XDG_STATE_HOME": str(directory / "state")}
    with subprocess.Popen(
        [*children.WITH_US, *COMMAND, *arguments],
        cwd=directory,
        env=state,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_sound_host_passes_every_check_and_nothing_is_left(lab: Lab, tmp_path: Path) -> None:
    write_pool(tmp_path, lab.uri, PoolSettings())

    with command(tmp_path, "--verify-images", "--json") as process:
        document = json.loads(process.communicate()[0])

    assert process.returncode == 0
    assert document["ok"] is True
    found = {each["check"]: each for each in document["findings"]}
    assert list(found) == [
        "configuration",
        "reachable",
        "identity",
        "reach of guests",
        "architectures",
        "storage pool",
        "permissions",
        "network of debian-12",
        "image of debian-12",
        "size of debian-12",
        "capabilities",
        "slots",
        "KVM",
        "VM of debian-12",
    ]
    assert {f["status"] for f in document["findings"] if f["check"] not in MEASURED} == {"fine"}
    assert found["image of debian-12"]["brief"].endswith(" for x86_64, intact")
    assert "x86_64 (" in found["architectures"]["brief"]
    assert not lab.leftovers()


@pytest_twisted.ensureDeferred
async def test_a_guest_that_dies_is_told_with_its_console(
    lab: Lab, image: LocalImage, examine: Examine, tmp_path: Path
) -> None:
    lab.publish(tiny_guests.make(tmp_path / "image", image, "dying", tiny_guests.DYING))
    settings = PoolSettings(image="{name: dying}", memory="128MiB", accelerator="auto")

    notes = await examine(lab.uri, settings, options=Options())

    told = notes.of("VM of debian-12")
    assert told.status is Status.FAILED
    assert "powered itself off" in told.brief
    assert "I cannot go on" in str(told.details)
    assert told.resolution
    assert notes.of("KVM").status is not Status.FAILED  # it may work here or not: it was tried
    assert "not tried" not in notes.of("KVM").brief
    assert not lab.leftovers()


def test_what_a_killed_run_left_is_freed_by_the_next_but_never_while_it_lives(
    lab: Lab, image: LocalImage, tmp_path: Path
) -> None:
    lab.publish(tiny_guests.make(tmp_path / "image", image, "silent", tiny_guests.SILENT))
    settings = PoolSettings(image="{name: silent}", memory="128MiB", boot_timeout="10m")
    write_pool(tmp_path, lab.uri, settings)

    with command(tmp_path) as first:
        wait_for("the first run's VM", lab.domains)
        with command(tmp_path) as second:
            printed = second.communicate()[0]
        assert second.returncode == 0
        assert "! VMs: none is tried: another run of the doctor" in printed
        assert len(lab.leftovers()) == 2
        first.kill()
    assert len(lab.leftovers()) == 2

    settings = PoolSettings(image="{name: silent}", memory="128MiB", boot_timeout="1s")
    write_pool(tmp_path, lab.uri, settings)
    with command(tmp_path) as third:
        printed = third.communicate()[0]
    assert "✓ slots: 2 of 2 are free" in printed
    assert "✗ VM of debian-12: VM latent-libvirt-2 did not say 'waiting' within 1 s" in printed
    assert third.returncode == 1
    assert not lab.leftovers()


def test_an_interrupted_run_leaves_nothing(lab: Lab, image: LocalImage, tmp_path: Path) -> None:
    lab.publish(tiny_guests.make(tmp_path / "image", image, "silent-too", tiny_guests.SILENT))
    settings = PoolSettings(image="{name: silent-too}", memory="128MiB", boot_timeout="10m")
    write_pool(tmp_path, lab.uri, settings)

    with command(tmp_path) as process:
        wait_for("the VM", lab.domains)
        process.send_signal(signal.SIGINT)
        process.communicate()

    assert process.returncode == 130
    assert not lab.leftovers()


@pytest_twisted.ensureDeferred
async def test_taken_slots_are_no_failure_and_their_holders_are_named(
    lab: Lab, examine: Examine
) -> None:
    with lab.connection() as connection:
        domain = connection.createXML(FOREIGN_DOMAIN)
        notes = await examine(lab.uri, PoolSettings(slots=1), options=Options())
        domain.destroy()

    told = notes.of("slots")
    assert told.status is Status.WARNING
    assert told.details == "1: domain latent-libvirt-1 is not ours"
    assert notes.wrong() == []
    assert [f.check for f in notes.findings if f.check.startswith("VM")] == []


@pytest_twisted.ensureDeferred
async def test_a_domain_that_is_only_defined_keeps_its_slot_and_a_vm_is_tried_in_another(
    lab: Lab, image: LocalImage, examine: Examine, tmp_path: Path
) -> None:
    lab.publish(tiny_guests.make(tmp_path / "image", image, "waiting", tiny_guests.WAITING))
    settings = PoolSettings(image="{name: waiting}", memory="128MiB", slots=2)

    with lab.defined(FOREIGN_DOMAIN):
        notes = await examine(lab.uri, settings, options=Options())

    told = notes.of("slots")
    assert told.status is Status.WARNING
    assert told.brief == "1 of 2 are free; domains that are not ours keep others"
    assert "slot 1: domain latent-libvirt-1 is defined there, and not ours" in str(told.details)
    assert "virsh domrename" in str(told.resolution)
    assert notes.wrong() == []
    assert "boots and waits for an identity" in notes.of("VM of debian-12").brief


@pytest_twisted.ensureDeferred
async def test_a_drained_host_is_examined_but_gets_no_vm(lab: Lab, examine: Examine) -> None:
    notes = await examine(lab.uri, PoolSettings(slots=0), options=Options())
    assert notes.of("slots").brief == "drained: slots is 0, so no VM was tried"
    assert notes.wrong() == []


# What the label has, the check that must fail, and what it must say.
LACKING = {
    "image": (
        PoolSettings(image="{name: nowhere}"),
        "image of debian-12",
        ["nowhere is not published", "latent-libvirt image publish nowhere --uri"],
    ),
    "memory": (
        PoolSettings(memory="512GiB"),
        "size of debian-12",
        ["512 GiB of memory are more than its", "Make the label smaller"],
    ),
    "vcpus": (
        PoolSettings(label_keys="vcpus: 200"),
        "size of debian-12",
        ["200 vCPUs are more than", "name only larger hosts"],
    ),
    "machine": (
        PoolSettings(label_keys="machine: pc-q35-99.9"),
        "hardware of debian-12",
        ["lacks what label debian-12 asks for: machine pc-q35-99.9", "change the label"],
    ),
    "processor": (
        PoolSettings(label_keys="cpu: Nehalme +aes"),
        "hardware of debian-12",
        ["processor Nehalme", "virsh domcapabilities"],
    ),
    "volume": (
        PoolSettings(image="{volume: nowhere.qcow2}"),
        "image of debian-12",
        ["has no volume 'nowhere.qcow2'", "Upload it"],
    ),
    "network": (
        PoolSettings(network="{network: nowhere}"),
        "network of debian-12",
        ["has no network 'nowhere'", "Its networks:", "virsh net-define"],
    ),
}


@pytest.mark.parametrize("thing", LACKING)
@pytest_twisted.ensureDeferred
async def test_what_a_label_lacks_is_told_with_what_to_do(
    lab: Lab, examine: Examine, thing: str
) -> None:
    settings, check, expected = LACKING[thing]
    notes = await examine(lab.uri, settings)
    told = notes.of(check)
    assert told.status is Status.FAILED
    text = f"{told.brief}\n{told.details}\n{told.resolution}"
    assert [words for words in expected if words not in text] == []
    assert len(notes.wrong()) == 1


@pytest.fixture(scope="module")
def unfit_lab(shared_lab: Lab) -> Iterator[Lab]:
    """Give a hypervisor that has volumes which are no base images."""
    with unfit_volumes.made(shared_lab.directory):
        yield shared_lab


@pytest.mark.parametrize("name", UNFIT)
@pytest_twisted.ensureDeferred
async def test_a_volume_that_no_overlay_can_be_based_on_is_found_before_a_build_finds_it(
    unfit_lab: Lab, examine: Examine, name: str
) -> None:
    defect, kind = UNFIT[name]
    notes = await examine(unfit_lab.uri, PoolSettings(image=f"{{volume: {name}}}"))

    told = notes.of("image of debian-12")
    assert told.status is Status.FAILED
    assert re.search(f"volume '{name}' in .*'builds' cannot be a base image: {defect}", told.brief)
    assert f"as libvirt sees it: {kind}." in str(told.details)
    assert "qemu-img convert -O qcow2" in str(told.resolution)
    assert len(notes.wrong()) == 1


@pytest_twisted.ensureDeferred
async def test_an_image_of_another_architecture_than_its_labels_is_told(
    lab: Lab, examine: Examine
) -> None:
    notes = await examine(lab.uri, PoolSettings(label_keys="arch: aarch64"))

    told = notes.of("image of debian-12")
    assert told.status is Status.FAILED
    assert "debian-12 is for x86_64, and its label has arch: aarch64" in told.brief
    assert "Write arch: x86_64" in str(told.resolution)
    # A machine for tests need not have QEMU for aarch64, which is told at another check.
    others = {each.partition(":")[0] for each in notes.wrong()} - {"image of debian-12"}
    assert others <= {"hardware of debian-12"}


@pytest_twisted.ensureDeferred
async def test_what_guests_reach_on_this_host_is_told_but_for_the_port_of_their_master(
    lab: Lab, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposed, "MOST_SHOWN", 2**16)  # other tests listen, too
    with (
        socket.create_server(("127.0.0.1", 0)) as service,
        socket.create_server(("127.0.0.1", 0)) as workers,
    ):
        ports = [each.getsockname()[1] for each in (service, workers)]
        listener = Listener("master.cfg", 1, f"tcp:{ports[1]}:interface=127.0.0.1")
        unknown = await examine(lab.uri)
        notes = await examine(lab.uri, listener=listener)

    reached = [f"{port} ({THIS_PROCESS})" for port in ports]
    told = unknown.of("reach of guests")
    assert told.status is Status.WARNING
    assert "guests of debian-12 reach TCP ports of this host at 10.0.2.2: " in told.brief
    assert [each in told.brief for each in reached] == [True, True]
    assert [each in notes.of("reach of guests").brief for each in reached] == [True, False]


@pytest_twisted.ensureDeferred
async def test_one_hypervisor_that_is_named_twice_is_told(lab: Lab, tmp_path: Path) -> None:
    other = f"twin: {{uri: '{lab.uri}&mode=direct', slots: 1, storage_pool: {STORAGE_POOL}}}"
    write_pool(tmp_path, lab.uri, PoolSettings(other_hosts=other))
    notes = Notes()
    config = load(tmp_path / "pool.yaml")
    await Round(config, ["twin", "here"], WITHOUT_VMS, tmp_path / "state").examine(notes, reactor)

    told = [f for f in notes.findings if (f.check, f.status) == ("identity", Status.FAILED)]
    assert len(told) == 1
    assert "leads to the same libvirt as host" in told[0].brief
    assert "twin" in told[0].brief
    assert "here" in told[0].brief


@pytest_twisted.ensureDeferred
async def test_a_network_that_is_not_active_is_told(lab: Lab, examine: Examine) -> None:
    with lab.connection() as connection:
        network = connection.networkDefineXML("<network><name>asleep</name></network>")
        notes = await examine(lab.uri, PoolSettings(network="{network: asleep}"))
        network.undefine()
    told = notes.of("network of debian-12")
    assert told.status is Status.FAILED
    assert f"virsh -c {shlex.quote(lab.uri)} net-start asleep" in str(told.resolution)


@pytest_twisted.ensureDeferred
async def test_a_bridge_that_libvirt_does_not_know_is_to_be_looked_at(
    lab: Lab, examine: Examine
) -> None:
    notes = await examine(lab.uri, PoolSettings(network="{bridge: nowhere0}"))
    told = notes.of("network of debian-12")
    assert told.status is Status.WARNING
    assert "ip link show type bridge" in str(told.resolution)


@pytest_twisted.ensureDeferred
async def test_an_image_that_was_changed_is_found_when_it_is_verified(
    lab: Lab, examine: Examine, tmp_path: Path
) -> None:
    published = lab.publish(fake_image(tmp_path / "images", name="changed", year=2020))
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.storageVolLookupByName(published.kernel).delete(0)
        upload(pool, NewVolume(published.kernel, 6, 6), [b"KERNEL"])
    settings = PoolSettings(image="{name: changed}")

    assert (await examine(lab.uri, settings)).wrong() == []
    verified = await examine(lab.uri, settings, options=Options(vms=False, verify_images=True))

    assert verified.wrong() == [
        f"image of debian-12: volume {published.kernel} is not what was published"
    ]


@pytest_twisted.ensureDeferred
async def test_a_storage_pool_that_cannot_be_written_to_is_told(lab: Lab, examine: Examine) -> None:
    lab.directory.chmod(0o500)
    try:
        notes = await examine(lab.uri)
    finally:
        lab.directory.chmod(0o700)
    told = notes.of("permissions")
    assert told.status is Status.FAILED
    assert "Permission denied" in str(told.details)
    assert "must be writable for libvirtd" in str(told.resolution)


@pytest_twisted.ensureDeferred
async def test_without_its_storage_pool_a_host_is_not_examined_further(
    sandbox: PrivateLibvirtd, examine: Examine
) -> None:
    missing = await examine(sandbox.uri)
    assert missing.wrong() == [f"storage pool: {sandbox.uri} has no storage pool 'builds'"]
    assert "pool-define-as builds" in str(missing.of("storage pool").resolution)

    sandbox.define_storage_pool(STORAGE_POOL)
    with Lab(sandbox).connection() as connection:
        connection.storagePoolLookupByName(STORAGE_POOL).destroy()
    asleep = await examine(sandbox.uri)
    assert f"pool-start {STORAGE_POOL}" in str(asleep.of("storage pool").resolution)
    assert "image of debian-12" not in [finding.check for finding in asleep.findings]


@pytest_twisted.ensureDeferred
async def test_a_host_that_is_not_there_fails_at_once(tmp_path: Path, examine: Examine) -> None:
    notes = await examine(f"qemu+unix:///session?socket={tmp_path}/none")
    told = notes.of("reachable")
    assert told.status is Status.FAILED
    assert "No such file or directory" in str(told.details)
    assert "systemctl start libvirtd" in str(told.resolution)
    assert len(notes.findings) == 1


@pytest_twisted.ensureDeferred
async def test_a_host_that_fails_keeps_no_other_from_being_examined(
    lab: Lab, tmp_path: Path
) -> None:
    gone = (
        f'  gone: {{uri: "qemu+unix:///session?socket={tmp_path}/none", slots: 1, storage_pool: x}}'
    )
    text = PoolSettings().yaml(lab.uri).replace("\nimages:", f"\n{gone}\nimages:")
    (tmp_path / "pool.yaml").write_text(text)
    notes = Notes()
    both = Round(load(tmp_path / "pool.yaml"), ["gone", "here"], WITHOUT_VMS, tmp_path)

    await both.examine(notes, reactor)

    assert sorted(notes.hosts) == ["gone", "here"]
    assert [f.check for f in notes.findings if f.status is Status.FAILED] == ["reachable"]
    assert notes.of("image of debian-12").status is Status.FINE


@pytest_twisted.ensureDeferred
async def test_a_host_that_hangs_fails_at_the_deadline(
    sandbox: PrivateLibvirtd, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connectivity, "DEADLINE", 1.0)
    sandbox.suspend()
    notes = await examine(sandbox.uri)
    sandbox.resume()
    assert notes.of("reachable").status is Status.FAILED
    assert notes.of("reachable").details == "no answer within 1 s"


@pytest_twisted.ensureDeferred
async def test_a_run_that_cannot_tell_whose_its_vms_are_starts_none(
    lab: Lab, examine: Examine, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file where a directory belongs")
    notes = await examine(lab.uri, options=Options())
    assert [f.check for f in notes.findings if f.status is Status.FAILED] == ["VMs"]
    assert "XDG_STATE_HOME" in str(notes.of("VMs").resolution)
    assert notes.of("KVM").brief == "not used: accelerator is tcg"
    assert "VM of debian-12" not in [finding.check for finding in notes.findings]


def test_a_reader_that_closes_the_pipe_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nread _ <{shlex.quote(str(go_on))}\nexit 1\n")
    ssh.chmod(0o755)
    pool = PoolSettings().yaml(f"qemu+ssh://alpha/system?command={ssh}")
    (tmp_path / "pool.yaml").write_text(pool)

    with subprocess.Popen(
        [*children.WITH_US, *COMMAND, "--no-vm"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    ) as doctor:
        assert doctor.stdout
        assert doctor.stderr
        assert "is good" in doctor.stdout.readline()
        doctor.stdout.close()
        go_on.write_text("\n")
        said = doctor.stderr.read()

    assert (said, doctor.returncode) == ("", 1)
