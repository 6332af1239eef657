# SPDX-License-Identifier: GPL-2.0-only
"""Images in a storage pool that nothing needs any more, and their deletion.

A survey lists everything on the host that may need an image, no matter whose it is; only when it
is complete is anything decided, and only then deleted. What is an image's volume follows from its
exact name. All functions that take a connection block, and let libvirt's own errors pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import libvirt
from lxml import etree

from latent_libvirt.host.libvirtd.answers import (
    name_of,
    named,
    parsed,
)
from latent_libvirt.host.volumes import (
    images,
    storage,
)
from latent_libvirt.host.volumes.transfer import volume_called
from latent_libvirt.images.description import DIGEST_DIGITS, NAME_PATTERN

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig

LEFTOVER_AGE: Final = timedelta(days=1)
"""An upload to which nothing was added for so long has ended. libvirt does not say so. Reading
back what was uploaded takes its time, too, and writes nothing."""

KEPT_ON_TRIAL: Final = 5
"""How many of the newest versions of an image are kept that are tried before all VMs take them.
Only a master knows which one is in use: newer ones may have been withdrawn, or replaced."""

_SUFFIXES: Final = ("json", "qcow2", "kernel", "initrd", "lock")
"""In the order in which they are deleted."""

_VOLUME: Final = re.compile(
    rf"{re.escape(images.PREFIX)}\.(?P<name>{NAME_PATTERN})"
    rf"\.(?P<digest>[0-9a-f]{{{DIGEST_DIGITS}}})"
    rf"(\.[0-9]+(?=\.json))?\.(?P<suffix>{'|'.join(_SUFFIXES)})"
)


@dataclass(frozen=True)
class Needs:
    """What a pool's configuration wants to keep.

    :param keep: how many of the newest of each name.
    :param pins: the name and the first digits of the digest of each image that is pinned.
    :param volumes: the names of volumes that are base images on their own.
    :param on_trial: names of images whose new versions are tried beside the former ones.
    """

    keep: int
    pins: frozenset[tuple[str, str]]
    volumes: frozenset[str]
    on_trial: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: PoolConfig, *, keep: int) -> Needs:
        """Return what *config* wants, whichever host or label it is for."""
        wanted = config.images.items()
        return cls(
            keep=keep,
            on_trial=frozenset(i.name or key for key, i in wanted if i.canary),
            pins=frozenset((i.name or key, i.digest) for key, i in wanted if i.digest is not None),
            volumes=frozenset(image.volume for _, image in wanted if image.volume is not None),
        )


@dataclass(frozen=True)
class StoredImage:
    """The volumes of one image in a storage pool.

    :param digest: all of it if the image is whole, else the digits in the names.
    :param created: when it was built, or chosen by a rollback; ``None`` if it is not whole, as
        after an interrupted upload.
    :param changed: when the last of it was written; ``None`` where the storage does not record it.
    :param size: bytes that it occupies.
    :param users: names of volumes and domains that are based on it.
    """

    name: str
    digest: str
    created: datetime | None
    changed: datetime | None
    size: int
    volumes: tuple[str, ...]
    users: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it can be used."""
        return self.created is not None

    def __str__(self) -> str:
        text = f"{self.name} {self.digest[:DIGEST_DIGITS]}"
        return text if self.is_whole else f"half an upload of {text}"


@dataclass(frozen=True)
class Verdict:
    """What is to become of an image.

    :param kept: why it stays; empty if nothing needs it.
    """

    image: StoredImage
    kept: str


def judge(stored: Collection[StoredImage], needs: Needs, *, now: datetime) -> list[Verdict]:
    """Decide about each image, in the order of names, the newest of each first."""
    whole = [image for image in stored if image.created is not None]
    ordered = [*sorted(whole, key=_newest_first), *(i for i in stored if not i.is_whole)]
    ordered.sort(key=lambda image: image.name)  # stable
    return [Verdict(image, _why_kept(image, ordered, needs, now)) for image in ordered]


def _newest_first(image: StoredImage) -> tuple[float, int]:
    assert image.created is not None
    return -image.created.timestamp(), -int(image.digest, 16)


def _why_kept(
    image: StoredImage, ordered: Sequence[StoredImage], needs: Needs, now: datetime
) -> str:
    if image.users:
        return f"in use by {', '.join(image.users)}"
    if needs.volumes.intersection(image.volumes):
        return "named as a volume"
    if not image.is_whole:
        return _why_perhaps_unfinished(image, now)
    if any(name == image.name and image.digest.startswith(pin) for name, pin in needs.pins):
        return "pinned"
    keep = max(needs.keep, KEPT_ON_TRIAL) if image.name in needs.on_trial else needs.keep
    newest = [each for each in ordered if each.name == image.name][:keep]
    return "new" if image in newest else ""


def _why_perhaps_unfinished(image: StoredImage, now: datetime) -> str:
    if image.changed is None:
        return "not whole, and nobody knows since when"
    if now - image.changed < LEFTOVER_AGE:
        return "not whole, and so young that it may still be coming"
    return ""


def survey(connection: libvirt.virConnect, storage_pool: str) -> list[StoredImage]:
    """Return all images in a storage pool, whole or not, with their users.

    :raises ConfigurationError: if the host has no such storage pool.
    """
    pool = storage.storage_pool(connection, storage_pool)
    storage.refresh(pool)
    found: dict[tuple[str, str], list[tuple[str, _Volume]]] = {}
    for volume_name, volume in named(pool.listAllVolumes()):
        match = _VOLUME.fullmatch(volume_name)
        if match is not None and (looked_at := _look_at(volume)) is not None:
            of = found.setdefault((match["name"], match["digest"]), [])
            of.append((match["suffix"], looked_at))
    users = _users(connection)
    whole = {image.json: image for image in images.published(pool)}
    return [_stored(name, digest, of, whole, users) for (name, digest), of in found.items()]


def delete(connection: libvirt.virConnect, storage_pool: str, image: StoredImage) -> bool:
    """Delete all volumes of an image; return whether that could be done.

    It cannot if somebody has come to use it since the survey: with its description gone nobody else
    will, so what is left goes another time.
    """
    pool = storage.storage_pool(connection, storage_pool)
    for volume in image.volumes:
        if not volume.endswith(".json") and _is_used(connection, pool, volume):
            return False
        storage.delete_volume(pool, volume)
    return True


def _is_used(connection: libvirt.virConnect, pool: libvirt.virStoragePool, volume: str) -> bool:
    there = volume_called(pool, volume)
    return there is not None and there.path() in _users(connection)


@dataclass(frozen=True)
class _Volume:
    name: str
    path: str
    size: int
    changed: datetime | None


def _stored(
    name: str,
    digest: str,
    volumes: Sequence[tuple[str, _Volume]],
    whole: Mapping[str, images.PublishedImage],
    users: Mapping[str, Collection[str]],
) -> StoredImage:
    there = [volume for _, volume in sorted(volumes, key=lambda each: _SUFFIXES.index(each[0]))]
    published = next((whole[each.name] for each in there if each.name in whole), None)
    using = sorted({user for volume in there for user in users.get(volume.path, ())})
    return StoredImage(
        name=name,
        digest=digest if published is None else published.digest,
        created=None if published is None else published.description.since,
        changed=_latest([volume.changed for volume in there]),
        size=sum(volume.size for volume in there),
        volumes=tuple(volume.name for volume in there),
        users=tuple(using),
    )


def _latest(times: Sequence[datetime | None]) -> datetime | None:
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


def _look_at(volume: libvirt.virStorageVol) -> _Volume | None:
    xml = storage.xml_of(volume)
    if xml is None:
        return None
    return _Volume(
        name=volume.name(),
        path=volume.path(),
        size=_bytes(xml.findtext("allocation")),
        changed=_time(xml.findtext("target/timestamps/mtime")),
    )


def _bytes(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,18}", text) else 0


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _users(connection: libvirt.virConnect) -> dict[str, list[str]]:
    """Return by path who needs a file: volumes of all pools, and domains, running or not."""
    users: dict[str, list[str]] = {}
    for name, path in [*_backing_files(connection), *_files_of_domains(connection)]:
        users.setdefault(path, []).append(name)
    return users


def _backing_files(connection: libvirt.virConnect) -> Iterator[tuple[str, str]]:
    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        storage.refresh(pool)
        for name, volume in named(pool.listAllVolumes()):
            xml = storage.xml_of(volume)
            if xml is not None and (path := xml.findtext("backingStore/path")):
                yield name, path


def _files_of_domains(connection: libvirt.virConnect) -> Iterator[tuple[str, str]]:
    """Yield whatever could be a path in a domain's XML, which has the whole chain of each disk."""
    for domain in connection.listAllDomains():
        name = name_of(domain) or "a domain whose name is no text"
        try:
            xml = parsed(domain.XMLDesc(), f"domain {name}")
        except UnicodeDecodeError:
            continue  # nothing of ours is in such a path
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            continue  # it has ended since it was listed
        for element in xml.iter(etree.Element):
            for text in (element.text, *element.attrib.values()):
                if text:
                    yield name, str(text)
        yield from _volumes_by_name(connection, name, xml)


def _volumes_by_name(
    connection: libvirt.virConnect, domain: str, xml: etree._Element
) -> Iterator[tuple[str, str]]:
    """Yield the paths of disks that a domain names by storage pool and volume."""
    for source in xml.iterfind("devices/disk/source[@pool][@volume]"):
        try:
            pool = connection.storagePoolLookupByName(source.get("pool"))
            yield domain, pool.storageVolLookupByName(source.get("volume")).path()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NOT_THERE:
                raise


_NOT_THERE: Final = (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_STORAGE_VOL)
