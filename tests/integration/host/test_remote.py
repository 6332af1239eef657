# SPDX-License-Identifier: GPL-2.0-only
"""Hosts elsewhere, by each transport: all that a host is for works, and a broken way heals."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

import buildmaster
import children
import lab as lab_module
import remotes
import tiny_guests
from buildmaster import BuildMaster, wait_for
from fake_images import fake_image
from forgetful import Forgetful
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import HostConfig
from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.guest.protocol import (
    Identity,
    MasterAddress,
)
from latent_libvirt.host import sweeper
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains import machine as machine_module
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import (
    MachinePlan,
    Start,
)
from latent_libvirt.host.host import Host
from latent_libvirt.host.libvirtd import connection as connection_module
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.libvirtd.errand import visiting
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.volumes import (
    image_upload,
    images,
    storage,
)
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    upload,
)
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool
from remotes import Remote, TlsListener
from specs import a_spec

OWNER = Owner("elsewhere:/master", "pool")
OTHER = Owner("elsewhere:/master2", "pool")
DEADLINE = 180.0

SAVEABLE = """
count=0
while :; do
    hear
    case $line in
        *'"hello"'*)
            count=$((count + 1)); echo "Greeted $count times"
            echo '{"type": "waiting", "protocol": 1, "saves": true}' >&3 ;;
        *'"save"'*) say saveable ;;
        *'"identity"'*) say starting ;;
    esac
done
"""
"""A guest that may be saved, and says how often it was greeted since it was booted."""

ANSWERING = """
while :; do
    hear
    case $line in
        *hello*) echo 'I was greeted'; say waiting ;;
        *identity*) echo 'I am somebody'; say starting ;;
    esac
done
"""
"""A guest that may be greeted more than once."""

LINES = 100

COUNTING = f"""
command = "for n in $(seq {LINES}); do echo $n; sleep 0.1; done"
factory = util.BuildFactory([steps.ShellCommand(name="count", command=command)])
"""


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> TlsListener:
    return TlsListener.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def hypervisor(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, listener: TlsListener
) -> Iterator[Lab]:
    """Give a libvirtd that accepts TLS, too."""
    directory = tmp_path_factory.mktemp("lab")
    with lab_module.running(directory, cache=cache, listen=listener.settings) as lab:
        yield lab


@pytest.fixture(params=["unix", "ssh", "tls"])
def remote(
    request: pytest.FixtureRequest,
    hypervisor: Lab,
    listener: TlsListener,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """Give the hypervisor, empty, as seen from afar."""
    directory = tmp_path_factory.mktemp("r")
    by: dict[str, Callable[[], AbstractContextManager[Remote]]] = {
        "unix": lambda: remotes.by_unix(hypervisor, directory),
        "ssh": lambda: remotes.by_ssh(hypervisor, directory),
        "tls": lambda: remotes.by_tls(listener),
    }
    with by[request.param]() as found:
        yield found
    assert hypervisor.leftovers() == []
    remove_volumes(hypervisor)


@pytest.fixture
def by_unix(
    hypervisor: Lab,
    image: LocalImage,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """Give the hypervisor by one transport, with an image whose guests answer."""
    with remotes.by_unix(hypervisor, tmp_path_factory.mktemp("r")) as found:
        publish(found, tiny_guests.make(tmp_path / "image", image, "answering", ANSWERING))
        yield found
    assert hypervisor.leftovers() == []
    remove_volumes(hypervisor)


def remove_volumes(lab: Lab) -> None:
    with pool_of(lab) as pool:
        for volume in pool.listAllVolumes():
            volume.delete(0)


@contextmanager
def pool_of(lab: Lab) -> Iterator[libvirt.virStoragePool]:
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.refresh(0)
        yield pool


class Watched:
    """A host, and whether it was usable each time that this may have changed.

    Its sweeps wait at :attr:`gate`, if there is one, between what they list and what they conclude.
    """

    def __init__(self, uri: str) -> None:
        self.usable: list[bool] = []
        self.gate: Deferred[None] | None = None
        self.waits_at_gate = False
        config = HostConfig(uri=uri, slots=3, storage_pool=STORAGE_POOL, accelerator="tcg")
        context = PoolContext(
            OWNER, {}, Forgetful(), self._changed, reactor, dead_owners=self._nobody_is_dead
        )
        self.host = Host("far", config, context)
        self._stopping: Host | None = self.host
        self.host.start()

    def _changed(self) -> None:
        self.usable.append(self.host.usable)

    async def _nobody_is_dead(self, _pools: Collection[str]) -> frozenset[str]:
        if self.gate is not None:
            self.waits_at_gate = True
            await self.gate
        return frozenset()

    async def stop(self) -> None:
        """Close the connection, if that was not done before."""
        host, self._stopping = self._stopping, None
        if host is not None:
            await host.stop_when_empty()

    async def until_usable(self) -> None:
        await until(lambda: self.host.usable)

    async def until_lost_and_found(self) -> None:
        await until(lambda: False in self.usable and self.host.usable)

    def machine(self, image: str, *, start: Start = "boot") -> Machine:
        record = VmRecord(
            owner_id=OWNER.id,
            master=OWNER.master,
            pool=OWNER.pool,
            vm_id="abc",
            label="l",
            worker="w",
            image=image,
            since="s",
        )
        plan = MachinePlan(
            slot=1,
            record=record,
            vm=a_spec(image=image, memory="128MiB"),
            start=start,
        )
        return self.host.new_machine(plan)


MakeHost = Callable[[str], Watched]


@pytest_twisted.async_yield_fixture
async def make_host() -> AsyncIterator[MakeHost]:
    made: list[Watched] = []

    def make(uri: str) -> Watched:
        made.append(Watched(uri))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait, without holding up the reactor, until *condition* is true."""

    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


def said(machine: Machine) -> str:
    """Return the last that its console said."""
    return str(machine.guest.with_console(GuestError("so far")))


async def heard_again(machine: Machine, before: Any) -> None:
    """Wait until the guest has another channel than the one *before*; an identity shows its use.

    What it says of that on its console may be lost, with the connection that reads it.
    """
    await until(lambda: machine.guest._channel not in (None, before) and not machine.is_cut_off)


def publish(remote: Remote, image: LocalImage) -> None:
    with visiting(remote.uri) as connection:
        image_upload.publish(connection.storagePoolLookupByName(STORAGE_POOL), image)


async def booted(host: Watched, image: str) -> Machine:
    """Start a VM, up to where it waits for its identity."""
    await host.until_usable()
    host.usable.clear()
    machine = host.machine(image)
    await machine.prepare()
    await machine.clone()
    await machine.boot()
    await machine.until_waiting(DEADLINE)
    return machine


def assign(machine: Machine) -> Awaitable[None]:
    return machine.assign(Identity("w", "secret", MasterAddress("10.0.2.2", 9), "worker"))


def on_a_terminal(*arguments: str | Path) -> tuple[int, str]:
    """Run ``latent-libvirt image``; return its exit status, and what a terminal got of it."""
    ours, its = pty.openpty()
    program = Path(sys.executable).with_name("latent-libvirt")
    command = [*children.WITH_US, program, "image", *arguments]
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(its)
        text = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
    return process.returncode, text.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError as error:
        if error.errno != errno.EIO:  # nobody has the other end open any more
            raise
        return b""


def test_images_go_up_with_a_progress_bar_and_come_down_to_be_compared(
    remote: Remote, hypervisor: Lab, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=os.urandom(16 * 2**20))
    there = ("--uri", remote.uri, "--pool", STORAGE_POOL)

    status, text = on_a_terminal("publish", local.directory, *there)

    assert (status, "published in" in text) == (0, True), text
    assert "Publish debian-12" in text
    assert "━" in text
    assert "MiB/s" in text or "MB/s" in text
    status, text = on_a_terminal("verify", *there)
    assert (status, "is what was published" in text) == (0, True), text

    with pool_of(hypervisor) as pool:
        disk = images.find(pool, "debian-12").disk
        pool.storageVolLookupByName(disk).delete(0)
        upload(pool, NewVolume(disk, 3, 3), [b"bad"])
    status, text = on_a_terminal("verify", *there)
    assert (status, f"{disk} is not what was published" in text) == (1, True), text


@pytest_twisted.ensureDeferred
async def test_a_vm_lives_there_and_leaves_nothing(
    remote: Remote, make_host: MakeHost, hypervisor: Lab, image: LocalImage, tmp_path: Path
) -> None:
    publish(remote, tiny_guests.make(tmp_path / "image", image, "answering", ANSWERING))
    host = make_host(remote.uri)

    machine = await booted(host, "answering")
    assert hypervisor.domains() == ["latent-libvirt-1"]
    assert len(hypervisor.overlays()) == 1
    await assign(machine)
    await until(lambda: "I am somebody" in said(machine))

    await host.host.discard(machine)
    assert hypervisor.leftovers() == []
    await host.stop()
    await until(lambda: not remote.clients())


@pytest_twisted.ensureDeferred
async def test_what_was_left_there_is_swept(
    remote: Remote, make_host: MakeHost, hypervisor: Lab
) -> None:
    with pool_of(hypervisor) as pool:
        base = pool.createXML(NewVolume("base.qcow2", 0, 2**20, "qcow2").xml)
        for owner in (OWNER, OTHER):
            storage.create_overlay(pool, OwnedVolume(owner.id, 1, "aa"), base=base, capacity=None)
        theirs = str(OwnedVolume(OTHER.id, 1, "aa"))

    host = make_host(remote.uri)
    await host.until_usable()

    assert hypervisor.overlays() == [theirs]
    await host.stop()
    await until(lambda: not remote.clients())
    with pool_of(hypervisor) as pool:
        storage.delete_volume(pool, theirs)


@pytest_twisted.ensureDeferred
async def test_a_slot_is_saved_there_and_resumed(
    remote: Remote, make_host: MakeHost, hypervisor: Lab, image: LocalImage, tmp_path: Path
) -> None:
    publish(remote, tiny_guests.make(tmp_path / "image", image, "saveable", SAVEABLE))
    host = make_host(remote.uri)
    await host.until_usable()
    saving = host.machine("saveable", start="save")
    await saving.prepare()
    await saving.clone()
    await saving.boot()
    await saving.until_waiting(DEADLINE)
    await saving.save()
    await host.host.discard(saving)
    assert hypervisor.domains() == []

    machine = host.machine("saveable", start="resume")
    await machine.prepare()
    assert await machine.resume(DEADLINE)

    await until(lambda: "Greeted 2 times" in said(machine))
    await assign(machine)
    await host.host.discard(machine)
    host.host.saved.retire_all("the test has ended")
    await host.stop()
    assert hypervisor.saved() == []
    await until(lambda: not remote.clients())


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_cut_is_made_again_and_its_vm_goes_on(
    remote: Remote, make_host: MakeHost, hypervisor: Lab, image: LocalImage, tmp_path: Path
) -> None:
    publish(remote, tiny_guests.make(tmp_path / "image", image, "answering", ANSWERING))
    host = make_host(remote.uri)
    machine = await booted(host, "answering")
    channel = machine.guest._channel

    remote.cut()
    await host.until_lost_and_found()

    await heard_again(machine, channel)
    await assign(machine)
    await host.host.discard(machine)


@pytest_twisted.ensureDeferred
async def test_a_vm_that_somebody_suspends_is_paused_until_it_is_resumed_also_if_no_event_came(
    by_unix: Remote, make_host: MakeHost, hypervisor: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "SHORT_PAUSE", 0.1)
    host = make_host(by_unix.uri)
    machine = await booted(host, "answering")
    await assign(machine)
    with hypervisor.connection() as connection, capturedLogs() as events:
        domain = connection.lookupByName(machine.name)
        domain.suspend()
        await until(lambda: machine.pause == "somebody has suspended it")
        await until(lambda: any("is paused: somebody has" in formatEvent(e) for e in events))
        domain.resume()
        await until(lambda: not machine.pause)
        await until(lambda: any(formatEvent(e).endswith("goes on") for e in events))

        by_unix.cut()
        domain.suspend()  # before there is a connection again, on which that could be heard
        await host.until_lost_and_found()
        await until(lambda: machine.pause == "somebody has suspended it")
    await host.host.discard(machine)
    assert not machine.pause


@pytest_twisted.ensureDeferred
async def test_a_loss_that_overtakes_a_sweep_leaves_no_vm_cut_off(
    by_unix: Remote, make_host: MakeHost
) -> None:
    host = make_host(by_unix.uri)
    machine = await booted(host, "answering")
    channel = machine.guest._channel
    host.gate = Deferred()
    host.host.sweep_soon()
    await until(lambda: host.waits_at_gate)

    by_unix.cut()
    await until(lambda: False in host.usable and host.host.connection.is_up)
    # The sweep from before the loss ends now; another one waits for it.
    gate, host.gate = host.gate, None
    gate.callback(None)

    await heard_again(machine, channel)
    await assign(machine)
    await host.host.discard(machine)


@pytest_twisted.ensureDeferred
async def test_a_vm_that_cannot_be_listened_to_at_first_is_tried_again(
    by_unix: Remote, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails is replaced: libvirtd cannot be made to refuse the channel of a VM that runs."""
    host = make_host(by_unix.uri)
    machine = await booted(host, "answering")
    channel = machine.guest._channel
    open_streams, refusals = machine.guest.open_streams, iter([libvirt.libvirtError("no")])

    def refuse_once(domain: libvirt.virDomain) -> None:
        for refusal in refusals:
            raise refusal
        open_streams(domain)

    monkeypatch.setattr(machine.guest, "open_streams", refuse_once)
    monkeypatch.setattr(sweeper, "_AGAIN_AFTER", 0.1)
    by_unix.cut()

    await heard_again(machine, channel)
    await assign(machine)
    await host.host.discard(machine)


@pytest_twisted.ensureDeferred
async def test_a_way_that_carries_nothing_any_more_is_noticed_and_holds_up_nobody_else(
    remote: Remote, make_host: MakeHost, hypervisor: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL", 1)
    monkeypatch.setattr(connection_module, "KEEPALIVE_COUNT", 2)
    far, near = make_host(remote.uri), make_host(hypervisor.uri)
    await far.until_usable()
    await near.until_usable()

    remote.suspend()
    try:
        # Only as long as nothing answers: a login by ssh may take longer on a busy machine.
        with monkeypatch.context() as hasty:
            hasty.setattr(opening, "OPEN_TIMEOUT", 3.0)
            with pytest.raises(HostError):
                await far.host.connection.call(
                    "examine", "tell its name", libvirt.virConnect.getHostname
                )
            await until(lambda: not far.host.usable)
            # Connecting again hangs, too; that is given up, and told.
            await until(lambda: "no answer within 3 s" in far.host.trouble)
        assert near.host.usable
        # libvirt's event loop is one for all hosts.
        with _domain_in_slot_3(hypervisor):
            await until(lambda: near.host.blocked_slots == {3})
    finally:
        remote.resume()

    await far.until_usable()
    assert await far.host.connection.call(
        "examine", "tell its name", libvirt.virConnect.getHostname
    )
    await until(lambda: len(remote.clients()) <= 1)


@contextmanager
def _domain_in_slot_3(lab: Lab) -> Iterator[None]:
    with lab.connection() as connection:
        domain = connection.createXML(
            "<domain type='qemu'><name>latent-libvirt-3</name><memory unit='MiB'>32</memory>"
            "<os><type arch='x86_64'>hvm</type></os></domain>"
        )
        try:
            yield
        finally:
            domain.destroy()


@pytest.fixture(params=["ssh", "tls"])
def far(
    request: pytest.FixtureRequest,
    hypervisor: Lab,
    listener: TlsListener,
    image: LocalImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """Give the hypervisor with an image, as seen from another machine."""
    hypervisor.publish(image)
    if request.param == "ssh":
        way = remotes.by_ssh(hypervisor, tmp_path_factory.mktemp("r"))
    else:
        way = remotes.by_tls(listener)
    with way as found:
        yield found
    remove_volumes(hypervisor)


def test_a_job_runs_far_away_without_a_network_though_the_connection_is_cut(
    hypervisor: Lab, far: Remote, tmp_path: Path
) -> None:
    settings = PoolSettings(network="none", connection="channel")
    write_pool(tmp_path, far.uri, settings)
    with buildmaster.running(tmp_path, master_cfg(COUNTING)) as master:
        job = master.force()
        build = master.wait_for_build(job)
        wait_for("lines of the job's own step", lambda: len(_counted(master, build)) > 20)

        far.cut()

        assert master.wait_for_result(job) == "SUCCESS"
        assert master.results(job) == ["SUCCESS"]
        assert "connection lost" in master.log
        assert _counted(master, build) == list(range(1, LINES + 1))
        wait_for("everything to be freed", lambda: not hypervisor.leftovers())


def _counted(master: BuildMaster, build: dict[str, Any]) -> list[int]:
    """Return the numbers that the step has printed so far."""
    steps = master.get(f"builds/{build['buildid']}/steps")
    ours = [step["stepid"] for step in steps if step["name"] == "count" and step["started_at"]]
    logs = [log for step in ours for log in master.get(f"steps/{step}/logs")]
    text = "".join(master.raw(f"logs/{log['logid']}/raw") for log in logs)
    return [int(line) for line in text.splitlines() if line.isdigit()]
