# SPDX-License-Identifier: GPL-2.0-only
"""A libvirt that answers oddly is the trouble of its host alone: others start, are swept and stop.

No libvirt that we have says such things. So each call that a host makes from its start to its end
is replaced in turn, for one of two hosts of the driver ``test://``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from forgetful import Forgetful
from latent_libvirt.config import HostConfig
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.pool.hosts import Hosts

DEADLINE: Final = 120.0

OWNER: Final = Owner("master", "pool")

NODE: Final = f"""
<node>
  <domain type="test"><name>latent-libvirt-1</name><memory>1024</memory><os><type>hvm</type></os>
  </domain>
  <pool type="dir"><name>builds</name><target><path>/builds</path></target>
    <volume type="file"><name>latent-libvirt.overlay.{OWNER.id}.2.{16 * "a"}.qcow2</name>
      <capacity>1</capacity></volume>
    <volume type="file"><name>latent-libvirt.frozen.{OWNER.id}.1.{16 * "b"}.state</name>
      <capacity>1</capacity></volume>
  </pool>
</node>
"""

CALLS: Final = (
    (libvirt.virConnect, "registerCloseCallback"),
    (libvirt.virConnect, "domainEventRegisterAny"),
    (libvirt.virConnect, "storagePoolLookupByName"),
    (libvirt.virConnect, "getCapabilities"),
    (libvirt.virConnect, "getHostname"),
    (libvirt.virConnect, "listAllDomains"),
    (libvirt.virConnect, "getVersion"),
    (libvirt.virConnect, "getType"),
    (libvirt.virConnect, "listAllStoragePools"),
    (libvirt.virConnect, "getInfo"),
    (libvirt.virConnect, "getDomainCapabilities"),
    (libvirt.virConnect, "saveImageGetXMLDesc"),
    (libvirt.virConnect, "isAlive"),
    (libvirt.virConnect, "domainEventDeregisterAny"),
    (libvirt.virConnect, "unregisterCloseCallback"),
    (libvirt.virConnect, "close"),
    (libvirt.virStoragePool, "isActive"),
    (libvirt.virStoragePool, "refresh"),
    (libvirt.virStoragePool, "listAllVolumes"),
    (libvirt.virStoragePool, "storageVolLookupByName"),
    (libvirt.virStoragePool, "UUIDString"),
    (libvirt.virStorageVol, "name"),
    (libvirt.virStorageVol, "key"),
    (libvirt.virStorageVol, "delete"),
    (libvirt.virDomain, "name"),
    (libvirt.virDomain, "UUIDString"),
    (libvirt.virDomain, "isActive"),
    (libvirt.virDomain, "metadata"),
)

ERRORS: Final = (
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
    SystemError("odd"),
    OverflowError("odd"),
    MemoryError(),
    AttributeError("odd"),
    libvirt.libvirtError("odd"),
)

VALUES: Final[tuple[Any, ...]] = (
    *(None, -1, 2**64 - 1, b"\xff", "", "<x/>", "<x>\udcff", {}, []),
    *([None] * 8, [-1] * 8, [2**64 - 1] * 8),
    '<capabilities xmlns="urn:odd"><!-- odd --><host/></capabilities>',
)


@contextmanager
def answering(of: type, name: str, uri: str, answer: Callable[[], object]) -> Iterator[None]:
    """Replace a method of libvirt's for the host at *uri* alone."""
    method = getattr(of, name)

    @functools.wraps(method)
    def replaced(self: Any, *arguments: Any, **keywords: Any) -> object:
        connection = self if isinstance(self, libvirt.virConnect) else self._conn
        if connection.getURI() == uri:
            return answer()
        return method(self, *arguments, **keywords)

    setattr(of, name, replaced)
    try:
        yield
    finally:
        setattr(of, name, method)


def raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


async def until(condition: Callable[[], object]) -> None:
    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.005, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


async def nobody(_pools: object) -> frozenset[str]:
    return frozenset()


async def lived(directory: Path, odd: str) -> None:
    """Let two hosts live, of which the one at *odd* answers oddly."""
    (directory / "good.xml").write_text(NODE)
    context = PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor, dead_owners=nobody)
    hosts = Hosts(Host)
    uris = {"odd": odd, "good": f"test://{directory}/good.xml"}
    settings: dict[str, Any] = {"slots": 2, "storage_pool": "builds", "accelerator": "tcg"}
    hosts.configure({name: HostConfig(uri=uri, **settings) for name, uri in uris.items()}, context)
    stopped = hosts["odd"], hosts["good"]
    try:
        await until(lambda: hosts["good"].usable)
        await until(lambda: hosts["odd"].usable or hosts["odd"].trouble != "not connected yet")
        swept = Deferred.fromCoroutine(hosts.sweep(dry_run=False))
        assert [each.trouble for each in await swept.addTimeout(DEADLINE, reactor)][1:] == [""]
    finally:
        await Deferred.fromCoroutine(hosts.stop()).addTimeout(DEADLINE, reactor)
    assert not any(host.connection.is_up for host in stopped)


@pytest.mark.parametrize(("of", "name"), CALLS, ids=[f"{c.__name__}.{n}" for c, n in CALLS])
@pytest_twisted.ensureDeferred
async def test_no_answer_of_one_host_keeps_another_from_its_start_its_sweep_and_its_stop(
    tmp_path: Path, of: type, name: str
) -> None:
    (tmp_path / "odd.xml").write_text(NODE)
    uri = f"test://{tmp_path}/odd.xml"
    answers = [*map(raising, ERRORS), *(lambda value=value: value for value in VALUES)]

    for answer in answers:
        with answering(of, name, uri, answer):
            await lived(tmp_path, uri)


@pytest_twisted.ensureDeferred
async def test_each_of_these_calls_is_made(tmp_path: Path) -> None:
    """A call that no host makes any more would be tested for nothing."""
    (tmp_path / "odd.xml").write_text(NODE)
    made: set[str] = set()
    originals = [(of, name, getattr(of, name)) for of, name in CALLS]

    def noting(of: type, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def noted(self: Any, *arguments: Any, **keywords: Any) -> object:
            made.add(f"{of.__name__}.{name}")
            return method(self, *arguments, **keywords)

        return noted

    try:
        for of, name, method in originals:
            setattr(of, name, noting(of, name, method))
        await lived(tmp_path, f"test://{tmp_path}/odd.xml")
    finally:
        for of, name, method in originals:
            setattr(of, name, method)

    assert made >= {f"{of.__name__}.{name}" for of, name in CALLS}
