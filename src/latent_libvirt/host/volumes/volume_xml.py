# SPDX-License-Identifier: GPL-2.0-only
"""The XML of a volume, built with lxml, so that no value can break out of its place."""

from __future__ import annotations

from lxml import etree
from lxml.builder import E


def overlay_xml(name: str, *, capacity: int, backing_path: str | None) -> str:
    """Return the XML of a qcow2 volume called *name* on top of *backing_path*.

    :param capacity: virtual size in bytes.
    :param backing_path: ``None`` for an empty disk.
    """
    volume = E.volume(E.name(name), E.capacity(str(capacity), unit="bytes"), qcow2_target())
    if backing_path is not None:
        volume.append(E.backingStore(E.path(backing_path), E.format(type="qcow2")))
    return etree.tostring(volume, encoding="unicode")


def qcow2_target() -> etree._Element:
    """Return the format of all volumes that are made here.

    libvirt makes qcow2 of version 0.10 otherwise, which cannot note that a cluster is all zeros:
    what a guest discards above a backing file would stay allocated. No lazy reference counts: a
    disk that was saved with a VM is opened read-only, which one that needs a repair cannot be.
    """
    return E.target(E.format(type="qcow2"), E.compat("1.1"))
