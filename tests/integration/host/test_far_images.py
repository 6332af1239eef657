# SPDX-License-Identifier: GPL-2.0-only
"""Messages that it takes to look up images, however many are published; a real libvirtd counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

import many_images
from far_host import FarHost
from latent_libvirt.config import ImageConfig
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import images, rollback, storage
from latent_libvirt.host.volumes.base_image import BaseImage, Catalog
from latent_libvirt.sandbox import PrivateLibvirtd

MANY = 100


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[FarHost]:
    """Give a way to a libvirtd that has many images."""
    directory = tmp_path_factory.mktemp("libvirtd")
    with PrivateLibvirtd(directory, capability_cache=cache / "libvirt") as sandbox:
        sandbox.define_storage_pool("images")
        connection = libvirt.open(sandbox.uri)
        pool = connection.storagePoolLookupByName("images")
        many_images.fill(pool, tmp_path_factory.mktemp("made"), MANY)
        connection.close()
        with FarHost(sandbox.uri, directory / "far").running() as far:
            yield far


class Master:
    """A connection, with what its master remembers of images."""

    def __init__(self, far: FarHost) -> None:
        self._far = far
        self.connection = opening.opened(far.uri)
        self._catalog = Catalog()

    def look_up(self, *names: str) -> tuple[list[BaseImage], int]:
        """Return what stands for *names*, and the number of messages that it took."""
        before = len(self._far.calls)
        wanted = {name: ImageConfig(name=name) for name in names}
        found = storage.in_pool(
            self.connection, "images", lambda pool: self._catalog.resolve_all(pool, wanted)
        )
        taken = len(self._far.calls) - before
        return [_there(image) for image in found.values()], taken


def _there(image: object) -> BaseImage:
    if isinstance(image, Exception):
        raise image
    assert isinstance(image, BaseImage)
    return image


@pytest.fixture
def master(far: FarHost) -> Iterator[Master]:
    master = Master(far)
    yield master
    opening.close(master.connection)


def test_an_image_is_looked_up_in_one_message_whatever_is_published(master: Master) -> None:
    ((first,), _messages) = master.look_up("debian")
    ((again,), messages) = master.look_up("debian")

    assert again == first
    assert messages == 1


def test_a_version_that_a_rollback_has_chosen_is_seen_at_once(far: FarHost, master: Master) -> None:
    ((newest,), _messages) = master.look_up("debian")
    pool = master.connection.storagePoolLookupByName("images")
    older = images.published(pool, "debian")[7]

    assert rollback.choose(pool, older)
    ((chosen,), _messages) = master.look_up("debian")
    ((_again,), messages) = master.look_up("debian")

    assert chosen.digest == older.digest != newest.digest
    assert messages == 1
    assert _digests(pool)[0] == older.digest
    assert len(set(_digests(pool))) == MANY


def test_an_image_that_is_deleted_and_made_again_is_read_again(master: Master) -> None:
    ((newest,), _messages) = master.look_up("debian")
    pool = master.connection.storagePoolLookupByName("images")
    image = images.find(pool, "debian", newest.digest)

    images.delete(pool, image)
    ((before_it,), _messages) = master.look_up("debian")

    assert before_it.digest != newest.digest
    with pytest.raises(ConfigurationError, match="not published"):
        _there(master.look_up("another")[0])


def test_a_storage_pool_that_was_made_again_is_looked_up_again(
    far: FarHost, master: Master
) -> None:
    master.look_up("debian")
    pool = master.connection.storagePoolLookupByName("images")
    xml = parsed(pool.XMLDesc(), "pool")
    for element in xml.findall("uuid"):
        xml.remove(element)
    pool.destroy()
    pool.undefine()

    made = master.connection.storagePoolDefineXML(etree.tostring(xml, encoding="unicode"))
    made.create(0)
    ((_found,), _messages) = master.look_up("debian")
    ((_again,), messages) = master.look_up("debian")

    assert messages == 1


def _digests(pool: libvirt.virStoragePool) -> list[str]:
    return [image.digest for image in images.published(pool, "debian")]
