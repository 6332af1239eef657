# SPDX-License-Identifier: GPL-2.0-only
"""A VM is frozen and thawed on a real hypervisor: what goes on, and what a crash leaves.

The guests are tiny: each has a boot id, and a process that counts in its memory and reads on in an
open file, which is deleted.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import libvirt
import pytest
import pytest_twisted
from lxml import etree
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

import lab as lab_module
import tiny_guests
from commands import COMMAND
from forgetful import Forgetful
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import HostConfig, LabelConfig
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.guest.protocol import new_password
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.host.exporting import pack
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.states import frozen_io
from latent_libvirt.host.states.frozen import FrozenVm
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.host.volumes import images, storage
from latent_libvirt.images.local import LocalImage
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from latent_libvirt.sandbox import private
from specs import a_spec

OWNER = Owner("freezing:/master", "pool")
DEADLINE = 180.0
DISK = 512 * MIB
"""Bytes of the disk that has the storage pool, which can be full."""

COUNTING = """
say waiting
for line in 1 2 3 4 5; do echo "line $line"; done >/lines
exec 4</lines
/bin/busybox rm /lines
count=0
while read -r typed; do
    count=$((count + 1))
    read -r opened <&4
    echo "$opened, count $count of process $$ in boot $(cat /proc/sys/kernel/random/boot_id)."
done
"""
"""Counts the lines that are typed, in the memory of a shell, by lines of a file that is open."""


@pytest.fixture(scope="module")
def hypervisor(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[Lab]:
    with lab_module.running(tmp_path_factory.mktemp("lab"), cache=cache, disk=DISK) as lab:
        directory = tmp_path_factory.mktemp("images") / "counting"
        lab.publish(tiny_guests.make(directory, image, "counting", COUNTING))
        yield lab


class Hypervisor:
    """What is on the host, seen from outside, and a pool's host on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hosts: list[Host] = []
        self.offered: list[SlotDomain] = []

    async def host(self) -> Host:
        """Return the host as a new master sees it."""
        config = HostConfig(uri=self.lab.uri, slots=3, storage_pool=STORAGE_POOL, accelerator="tcg")
        context = PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor, adopt=self._adopt)
        host = Host("here", config, context)
        self.hosts.append(host)
        host.start()
        await until(lambda: host.usable)
        return host

    def _adopt(self, host: Host, domain: SlotDomain) -> bool:
        assert domain.record is not None
        self.offered.append(domain)
        host.adopt_machine(_plan(domain.slot, domain.record))
        return True

    async def dies(self, host: Host) -> None:
        """Let the master that *host* is of be killed: nothing is done on the host any more."""
        self.hosts.remove(host)
        host._sweeper._timer.stop()
        await host.connection.stop()

    def path(self, volume: str) -> Path:
        """Return the path of a volume as this process sees it: the disk is in a namespace."""
        with self.lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            inside = pool.storageVolLookupByName(volume).path()
        return Path(f"/proc/{self.lab.sandbox.pid}/root{inside}")

    def free(self) -> int:
        """Return the bytes that are free on the disk."""
        with self.lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            pool.refresh(0)
            return int(pool.info()[3])

    def fill(self, *, leaving: int) -> None:
        """Let a volume of somebody else take all that is free but for *leaving* bytes."""
        size = self.free() - leaving
        xml = f"<volume><name>filler</name><capacity>{size}</capacity></volume>"
        with self.lab.connection() as connection:
            connection.storagePoolLookupByName(STORAGE_POOL).createXML(xml)

    def make_room(self) -> None:
        """Delete that."""
        with self.lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            pool.storageVolLookupByName("filler").delete(0)

    def volumes(self, kind: str) -> list[str]:
        with self.lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            pool.refresh(0)
            parsed = {name: OwnedVolume.parse(name) for name in pool.listVolumes()}
        return [name for name, volume in parsed.items() if volume and volume.kind == kind]


@pytest_twisted.async_yield_fixture
async def here(hypervisor: Lab) -> AsyncIterator[Hypervisor]:
    """Give the hypervisor, empty; see that nothing is left."""
    here = Hypervisor(hypervisor)
    yield here
    for host in here.hosts:
        for machine in tuple(host.live.by_id.values()):
            await host.discard(machine)
        host.frozen.clear()
        await host.stop_when_empty()
    assert hypervisor.leftovers() == []
    assert here.volumes("frozen") == []


async def until(condition: Callable[[], object]) -> None:
    """Wait, without holding up the reactor, until *condition* is true."""

    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


def _plan(slot: int, record: VmRecord) -> MachinePlan:
    return MachinePlan(slot=slot, record=record, vm=a_spec(image="counting", memory="128MiB"))


async def held(host: Host, *, seconds: float = 3600.0) -> VM:
    """Boot a VM, and hold it."""
    record = VmRecord(
        owner_id=host.owner.id,
        master=host.owner.master,
        pool=host.owner.pool,
        vm_id=secrets.token_hex(8),
        label="label",
        worker="w",
        image="counting",
        since="s",
    )
    machine = host.new_machine(_plan(1, record))
    vm = VM(Allocation("label", "here", 1, Size()), LabelConfig(image="counting"), host, machine)
    await vm.start()
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    await machine.mark(state="held", until=until.isoformat(timespec="seconds"))
    return vm


async def thawed(host: Host, frozen: FrozenVm) -> VM:
    """Thaw a VM."""
    machine = host.new_machine(_plan(1, replace(frozen.record, state="held")))
    await host.freezing.thaw(machine, frozen)
    return VM(Allocation("label", "here", 1, Size()), LabelConfig(image="counting"), host, machine)


async def counts(vm: VM, number: int) -> str:
    """Type a line; return what the guest says then, which is to have counted that many."""

    def said() -> str:
        return str(vm.machine.guest.with_console(GuestError("so far")))

    await vm.machine.write_to_console(b"\n")
    await until(lambda: "." in _after(said(), number))
    return _after(said(), number).partition(".")[0]


def _after(text: str, number: int) -> str:
    return text.partition(f"line {number}, count {number} of")[2]


@pytest_twisted.ensureDeferred
async def test_a_vm_that_cannot_be_frozen_runs_on(
    here: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of space; when the disk is full; when its master is killed before libvirt begins.

    The disk is full although there was space for it a moment before: others write there, too.
    """
    host = await here.host()
    vm = await held(host)
    before = await counts(vm, 1)

    with pytest.raises(CannotBeFrozenError, match="frozen_space"):
        await host.freezing.freeze(vm.machine, 64 * MIB)
    assert (vm.machine.record.state, here.volumes("frozen")) == ("held", [])

    free = here.free()
    here.fill(leaving=16 * MIB)
    monkeypatch.setattr(frozen_io, "_check_space", lambda *_: None)
    with pytest.raises(CannotBeFrozenError, match="libvirt cannot save it"):
        await host.freezing.freeze(vm.machine, GIB)
    monkeypatch.undo()
    here.make_room()
    assert (vm.machine.record.state, here.volumes("frozen")) == ("held", [])
    assert here.free() > free - MIB

    monkeypatch.setattr(storage, "delete_volume", lambda *_: True)
    monkeypatch.setattr(libvirt.virDomain, "saveFlags", _dying)
    with pytest.raises(HostError):
        await host.freezing.freeze(vm.machine, GIB)
    monkeypatch.undo()
    assert here.volumes("frozen")
    await here.dies(host)
    host = await here.host()
    assert [_state(domain) for domain in here.offered] == [(vm.vm_id, "freezing")]
    await until(lambda: not here.volumes("frozen"))
    (machine,) = host.live.by_id.values()
    await machine.listen()
    assert await counts(VM(vm.allocation, vm.label, host, machine), 2) == before


@pytest_twisted.ensureDeferred
async def test_the_same_processes_go_on_in_the_same_boot_whatever_happens_to_masters(
    here: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed while libvirt saves a VM, one when it has thawed it, one after a deadline."""
    host = await here.host()
    vm = await held(host)
    before = await counts(vm, 1)
    freezing = Deferred.fromCoroutine(host.freezing.freeze(vm.machine, GIB))
    freezing.addErrback(lambda _: None)
    await until(lambda: here.volumes("frozen"))
    await here.dies(host)
    host = await here.host()
    await until(lambda: not here.lab.domains())
    await host.free_leftovers()
    (frozen,) = host.frozen
    assert (frozen.vm_id, frozen.record.worker) == (vm.vm_id, "w")
    assert not await host.leftovers()

    with monkeypatch.context() as patched:
        patched.setattr(frozen_io, "delete_memory", lambda *_: None)
        again = await thawed(host, frozen)
    assert await counts(again, 2) == before
    assert here.volumes("frozen")
    freed = await host.free_leftovers()
    assert freed.counts() == {"domain": 0, "frozen": 1}
    assert not list(host.frozen)
    assert await counts(again, 3) == before

    # And again, until its deadline, which passes while nobody looks at the host.
    await again.machine.mark(until=datetime.now(UTC).isoformat())
    frozen = await host.freezing.freeze(again.machine, GIB)
    assert here.lab.domains() == []
    assert host.frozen.size == frozen.size > 0
    await here.dies(host)
    assert here.volumes("frozen")
    host = await here.host()
    assert here.volumes("frozen") == here.lab.overlays() == []
    assert not list(host.frozen)


def _dying(*_arguments: object) -> None:
    raise RuntimeError


def _state(domain: SlotDomain) -> tuple[str, str]:
    assert domain.record is not None
    return domain.record.vm_id, domain.record.state


@pytest_twisted.ensureDeferred
async def test_an_export_goes_on_at_a_libvirtd_that_never_saw_the_vm(
    here: Hypervisor, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await here.host()
    vm = await held(host)
    before = await counts(vm, 1)
    await vm.machine.write_to_console(f"{PASSWORD}\n".encode())
    await until(lambda: _said(vm).count("count 2 of"))
    frozen = await host.freezing.freeze(vm.machine, GIB)
    memory = here.path(frozen.name.state)
    assert PASSWORD.encode() in memory.read_bytes(), "what is searched for can be found"
    assert len(PAGES.findall(memory.read_bytes())) > 1000, "pages are as they are looked through"
    file, base = tmp_path / "vm.tar", Path(shutil.copy(_base_of(here), tmp_path))

    for stage, more in (("before", ()), ("in the middle", ("and", "fill"))):
        full = on_a_full_disk(here.lab, frozen, tmp_path / f"small {stage}", *more)
        assert full.returncode == 1
        assert "vm.tar: No space left on device" in full.stderr
        assert re.search(r"needs up to \d+ MiB, and \d+ MiB were free", full.stderr)
        assert sorted(full.stdout.splitlines()[1:]) == [*more[1:], f"small {stage}"], stage
    assert [vm.vm_id for vm in host.frozen] == [vm.vm_id]
    with here.lab.connection() as connection, pack.new_file(file) as output:
        exported = pack.pack(connection, STORAGE_POOL, frozen, output, with_base=False)

    assert file.stat().st_mode & 0o777 == 0o600
    for secret in (PASSWORD, OWNER.master):
        assert secret.encode() not in file.read_bytes()
    # There, a socket of a channel would have too long a path, as in many a home directory.
    monkeypatch.setattr(private, "_PREFIX", "llv-of-firstname.lastname-")
    with lab_module.running(tmp_path / "other", cache=cache) as other:
        assert "the base image" in thaw_file(other, file).stderr
        wrong = thaw_file(other, file, memory).stderr
        for digest in (exported.layers[-1].sha256, hashlib.sha256(memory.read_bytes()).hexdigest()):
            assert digest in wrong
        refused = _with_cpu(file, tmp_path / "wrong.tar")
        assert "cannot run the VM" in thaw_file(other, refused, base).stderr
        assert not (tmp_path / "wrong.tar.d").exists()
        assert other.domains() == []

        await _stays_if_it_runs_when_it_is_interrupted(other, file, base)

        done = thaw_file(other, file, base)

        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert exported.domain in done.stdout
        assert before in await _typed(other, exported.domain)
        assert "there already" in thaw_file(other, file, base).stderr
        other.destroy_domains()

        assert f"Name:           {exported.domain}" in _by_its_readme(file, base, other.uri)
        assert before in await _typed(other, exported.domain)
        other.destroy_domains()


PASSWORD = new_password()

PAGES = re.compile(rb"\0[\0-\xff]{6}\x28(?=[\0-\xff]{4096}\0[\0-\xff]{6}[\x28\x22\x10])")
"""Pages with what follows them: another one, one of zeros, or the end of a round."""


ON_A_FULL_DISK = """
mkdir "$1"; mount -t tmpfs -o "size=$2" small "$1"; shift 2
"$@"; failed=$?
echo Left:; find "$0" -printf '%f\\n'
exit $failed
"""

PACKING = """
import os
import sys
from pathlib import Path
import libvirt
from latent_libvirt.host.exporting import pack
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import frozen_io

uri, pool, memory, file, *fill = sys.argv[1:]
connection = libvirt.open(uri)
(frozen,) = frozen_io.read_all(connection, pool, [OwnedVolume.parse(memory)]).whole


def say(what):
    "Fill the disk to 4 MiB when the memory comes, as somebody else may."
    if fill and "memory" in what:
        disk = os.statvfs(file)
        os.posix_fallocate(os.open(Path(file).with_name("fill"), os.O_CREAT | os.O_RDWR), 0,
                           disk.f_bavail * disk.f_frsize - (4 << 20))


with pack.new_file(Path(file)) as output:
    pack.pack(connection, pool, frozen, output, with_base=False, say=say)
"""


def on_a_full_disk(
    lab: Lab, frozen: FrozenVm, disk: Path, *fill: str
) -> subprocess.CompletedProcess[str]:
    """Pack a VM into a file on a small disk; print what is on the disk then.

    :param fill: whether the disk becomes full only while the VM is packed.
    """
    size = "1g" if fill else "8m"
    packing = [sys.executable, "-c", PACKING, lab.uri, STORAGE_POOL, frozen.name.state]
    script = ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_FULL_DISK, str(disk)]
    return subprocess.run(
        [*script, str(disk), size, *packing, str(disk / "vm.tar"), *fill],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def thaw_file(lab: Lab, file: Path, *bases: Path) -> subprocess.CompletedProcess[str]:
    named = [part for base in bases for part in ("--base", str(base))]
    command = [str(COMMAND), "thaw", str(file), "--uri", lab.uri, *named]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def _thawing(lab: Lab, file: Path, base: Path) -> subprocess.Popen[str]:
    command = [str(COMMAND), "thaw", str(file), "--uri", lab.uri, "--base", str(base)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


async def _stays_if_it_runs_when_it_is_interrupted(lab: Lab, file: Path, base: Path) -> None:
    """Press Ctrl-C when libvirt has begun to restore the VM; leave nothing."""
    process = _thawing(lab, file, base)
    await until(lambda: lab.domains() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE)
    (domain,) = lab.domains()
    assert (process.returncode, f"{domain} runs, or may run, from" in said) in (
        (130, True),
        (0, False),
    )
    assert "count" in await _typed(lab, domain)
    lab.destroy_domains()
    shutil.rmtree(f"{file}.d")


def _by_its_readme(file: Path, base: Path, uri: str) -> str:
    """Do what the README of an export says, with a base image that has to be copied."""
    directory = file.with_name("by-hand")
    directory.mkdir()
    with tarfile.open(file) as tar:
        tar.extractall(directory, filter="data")
    readme = (directory / "README.md").read_text()
    shutil.copy(base, directory / "vda-1.qcow2")
    assert "to vda-1.qcow2" in readme
    lines = [line.strip() for line in readme.splitlines() if line.startswith("    ")]
    script = "\n".join(["set -e", *lines[1:]]).replace("qemu:///session", uri)
    done = subprocess.run(
        ["sh", "-c", script], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _base_of(here: Hypervisor) -> Path:
    with here.lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        image = images.find(pool, "counting")
    return here.path(image.disk)


def _with_cpu(file: Path, wrong: Path) -> Path:
    """Return an export like *file* of a VM that needs a processor that nobody has."""
    model = "<cpu mode='custom' match='exact'><model>Cascadelake-Server</model></cpu>"
    with tarfile.open(file) as old, tarfile.open(wrong, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name == pack.XML:
                root = etree.fromstring(data)
                for cpu in root.findall("cpu"):
                    root.remove(cpu)
                root.append(etree.fromstring(model))
                data = etree.tostring(root)
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return wrong


def _runs(lab: Lab, domain: str) -> bool:
    with lab.connection() as connection:
        state, _reason = connection.lookupByName(domain).state()
        return bool(state == libvirt.VIR_DOMAIN_RUNNING)


async def _typed(lab: Lab, domain: str) -> str:
    """Type a line at the console of a domain once it runs; return what it says.

    What is typed before its memory is restored is lost with the memory that it had until then.
    """
    await until(lambda: _runs(lab, domain))
    said = b""

    def talk() -> str:
        nonlocal said
        with lab.connection() as connection:
            stream = connection.newStream(0)
            connection.lookupByName(domain).openConsole(None, stream, 0)
            stream.send(b"\n")
            while b"line 3, count 3 of" not in said or not said.rstrip().endswith(b"."):
                said += stream.recv(1024)
            stream.abort()
        return said.decode()

    return await deferToThread(talk).addTimeout(DEADLINE, reactor)


def _said(vm: VM) -> str:
    return str(vm.machine.guest.with_console(GuestError("so far")))
