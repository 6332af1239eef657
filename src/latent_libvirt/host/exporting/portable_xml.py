# SPDX-License-Identifier: GPL-2.0-only
"""XML of a domain as it is in an export: without secrets, and without what only its host has.

Where files belong that are in the export, the XML says :data:`DIRECTORY`. What the guest sees of
the machine stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lxml import etree

DIRECTORY: Final = "@DIRECTORY@"
"""Stands for the directory that the files of an export are in."""

OF_ONE_HOST: Final = (
    "seclabel",
    "resource",
    "os/nvram",
    "devices/emulator",
    "devices/disk/backingStore",
    "devices/interface/target",
    "devices/channel/source",
    "devices/serial/source",
    "devices/console/source",
)
"""What each libvirt finds out or chooses when it starts a domain."""

_GONE: Final = (
    "title",
    "description",
    "metadata",
    "devices/disk/auth",
    "devices/disk/encryption",
    "devices/interface/filterref",
    "devices/interface/port",
    *OF_ONE_HOST,
)
"""What is about the host, its owner or their secrets, and not about the machine."""

_SECRET: Final = ("passwd", "passwdValidTo")


def portable_xml(xml: str, files: Mapping[str, str]) -> str:
    """Return *xml* as it is in an export.

    :param files: names of files in the export, by their paths on the host.
    """
    root = etree.fromstring(xml)
    remove(root, _GONE)
    for element in root.iter():
        for name in _SECRET:
            element.attrib.pop(name, None)
        for name in ("file", "path"):
            if element.get(name) in files:
                element.set(name, f"{DIRECTORY}/{files[element.get(name) or '']}")
        if element.text in files:
            element.text = f"{DIRECTORY}/{files[element.text or '']}"
    _shorten_channels(root)
    return etree.tostring(root, encoding="unicode")


def _shorten_channels(root: etree._Element) -> None:
    """Give each channel a terminal in place of a socket.

    libvirt makes such a socket below the home of a user, and the path may be too long for one. A
    guest sees the same port either way, with nobody at its other end.
    """
    for channel in root.findall("devices/channel[@type='unix']"):
        channel.set("type", "pty")


def remove(root: etree._Element, paths: Iterable[str]) -> None:
    """Remove all elements at *paths* below *root*."""
    for path in paths:
        for element in root.findall(path):
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)


def placed_xml(xml: str, directory: str) -> str:
    """Return the XML of an export whose files are in *directory*."""
    root = etree.fromstring(xml)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, str(value).replace(DIRECTORY, directory))
        if element.text:
            element.text = element.text.replace(DIRECTORY, directory)
    _shorten_channels(root)  # exports of older versions have sockets
    return etree.tostring(root, encoding="unicode")


def source_files(xml: str) -> dict[str, str]:
    """Return the paths of the files that a domain needs, by what they are."""
    root = etree.fromstring(xml)
    files = {}
    for disk in root.findall("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is not None and target is not None and source.get("file"):
            files[str(target.get("dev"))] = str(source.get("file"))
    for name in ("kernel", "initrd"):
        if text := root.findtext(f"os/{name}"):
            files[name] = text
    return files
