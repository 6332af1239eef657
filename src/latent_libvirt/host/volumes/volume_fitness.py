# SPDX-License-Identifier: GPL-2.0-only
"""Fitness of a volume as a base image: read from its own header, and from what libvirt knows of it.

What a start would only find out after everything else, such as a raw file, an encrypted image or a
lost backing file, is an error here that names the volume. All functions block.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

import libvirt
from lxml import etree

from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.transfer import (
    beginning,
    volume_called,
)

_HEADER: Final = struct.Struct(">4sIQIIQI")
"""Magic, version, backing file's offset and size, cluster bits, size, encryption (QEMU's
``docs/interop/qcow2.txt``)."""

_INCOMPATIBLE: Final = struct.Struct(">Q")
_FEATURES_AT: Final = 72
_CORRUPT: Final = 1 << 1
_EXTERNAL_DATA: Final = 1 << 2
_UNKNOWN: Final = ~0b11111
_HEADER_BYTES: Final = 104

CONVERT: Final = (
    "Make one that is: qemu-img convert -O qcow2 FROM TO, upload that, and name it as the volume."
)


def defect_of_header(header: bytes) -> str:
    """Return why overlays cannot be based on what begins with *header*; empty if they can."""
    if len(header) < _HEADER.size or header[:4] != b"QFI\xfb":
        return "it is no qcow2"
    _magic, version, _at, _length, _bits, size, encryption = _HEADER.unpack_from(header)
    if version not in (2, 3):
        return f"its header is damaged: there is no version {version} of qcow2"
    if size == 0:
        return "it has no size"
    if encryption:
        return "it is encrypted"
    return _defect_of_features(header) if version > 2 else ""  # noqa: PLR2004


def _defect_of_features(header: bytes) -> str:
    if len(header) < _HEADER_BYTES:
        return "its header is damaged: it ends too soon"
    (features,) = _INCOMPATIBLE.unpack_from(header, _FEATURES_AT)
    if features & _CORRUPT:
        return "QEMU has marked it as corrupt"
    if features & _EXTERNAL_DATA:
        return "its data is in another file"
    return "it needs features that are not known" if features & _UNKNOWN else ""


def check(
    pool: libvirt.virStoragePool,
    volume: libvirt.virStorageVol,
    name: str,
    xml: etree._Element,
    *,
    read_header: bool = True,
) -> None:
    """See that overlays can be based on *volume*, which is called *name*.

    :param xml: what libvirt says of it.
    :param read_header: whether its header may have changed since it was last read.
    :raises ConfigurationError: if not, and why.
    """
    found = xml.find("target/format")
    kind = "unknown" if found is None else str(found.get("type"))
    if xml.get("type") == "dir" or kind == "dir":
        raise _unfit(pool, name, "it is a directory", kind)
    if read_header and (defect := _defect_of(volume, kind)):
        raise _unfit(pool, name, defect, kind)
    if xml.find("target/encryption") is not None:
        raise _unfit(pool, name, "it is encrypted", kind)
    below = xml.findtext("backingStore/path")
    if below and _is_lost(pool, below):
        raise _unfit(pool, name, f"its backing file {below} is not there", kind)


def _defect_of(volume: libvirt.virStorageVol, kind: str) -> str:
    """Return what is wrong with the volume itself; empty if nothing is.

    Not every driver of libvirt can read from a volume. Then libvirt's own word on it has to do.
    """
    try:
        return defect_of_header(beginning(volume, _HEADER_BYTES))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
    return "" if kind == "qcow2" else "it is no qcow2"


def _unfit(pool: libvirt.virStoragePool, name: str, defect: str, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"volume {name!r} in storage pool {pool.name()!r} cannot be a base image: {defect}",
        details=f"Its format, as libvirt sees it: {kind}. Overlays need a qcow2 that is whole and "
        "not encrypted.",
        resolution=CONVERT,
    )


def _is_lost(pool: libvirt.virStoragePool, path: str) -> bool:
    """Whether *path* is known to be missing: it would be in the pool, and is not."""
    with suppress(HostError):
        directory = parsed(pool.XMLDesc(), "a storage pool").findtext("target/path")
        parent, name = PurePosixPath(path).parent, PurePosixPath(path).name
        if directory is None or parent != PurePosixPath(directory):
            return False
        if volume_called(pool, name) is None:
            storage.refresh(pool)
            return volume_called(pool, name) is None
    return False
