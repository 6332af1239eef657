# SPDX-License-Identifier: GPL-2.0-only
"""Parts of a domain that an export may have: those that are packed, and nothing else.

An export may come from anybody, and libvirt does what the XML says, with the user's rights. So each
element, attribute and text has to be in a table here. Of files, there are only those of the export,
firmware that packages install, and the random numbers of the kernel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lxml import etree

from latent_libvirt.host.exporting.portable_xml import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PLAIN: Final = r"[\w .,:+()-]{0,200}"
"""What stands for no path: a number, a name, a set of CPUs."""

_TEXT: Final = "text"

_TABLE: Final = r"""
domain type=kvm|qemu
name text=[\w+-][\w.+-]{0,100}
uuid text
genid text
memory text unit
currentMemory text unit
maxMemory text unit slots
memoryBacking
memoryBacking/hugepages
memoryBacking/hugepages/page size unit nodeset
vcpu text placement cpuset current
iothreads text
cputune
cputune/vcpupin vcpu cpuset
cputune/emulatorpin cpuset
cputune/iothreadpin iothread cpuset
os firmware=efi
os/type text=hvm arch machine
os/kernel text=@DIRECTORY@/kernel
os/initrd text=@DIRECTORY@/initrd
os/cmdline text=(?s:.*)
os/boot dev
os/firmware
os/firmware/feature enabled name
os/loader text=FIRMWARE readonly=yes secure stateless type=pflash|rom format=raw|qcow2
on_poweroff text=destroy|restart|preserve
on_reboot text=destroy|restart|preserve
on_crash text=destroy|restart|preserve
devices
devices/disk type=file device=disk
devices/disk/driver name=qemu type=qcow2|raw cache discard detect_zeroes io iothread queues
devices/disk/source file=LAYER index
devices/disk/target dev bus
devices/disk/readonly
devices/disk/serial text
devices/disk/boot order
devices/controller type index model ports vectors
devices/controller/model name
devices/controller/target chassis chassisNr port hotplug busNr index
devices/controller/master startport
devices/controller/pcihole64 text unit
devices/interface type=user|network|bridge
devices/interface/mac address
devices/interface/source network bridge portid
devices/interface/model type
devices/interface/driver name queues
devices/interface/mtu size
devices/interface/link state
devices/interface/boot order
devices/serial type=pty
devices/serial/target type port
devices/serial/target/model name
devices/console type=pty
devices/console/target type port
devices/channel type=unix|pty
devices/channel/target type=virtio name=[\w+-][\w.+-]{0,100}
devices/input type=mouse|keyboard|tablet bus model
devices/graphics type=vnc port autoport
devices/graphics/listen type=none
devices/video
devices/video/model type vram ram vgamem heads primary
devices/sound model
devices/sound/codec type
devices/audio id type=none
devices/hub type
devices/watchdog model action=reset|poweroff|shutdown|pause|none
devices/panic model
devices/memballoon model autodeflate freePageReporting
devices/memballoon/stats period
devices/rng model
devices/rng/backend model=random text=/dev/u?random
devices/rng/rate bytes period
devices/tpm model
devices/tpm/backend type=emulator version
devices/tpm/backend/profile name source
"""
"""A path a line, and its attributes, with a pattern of the value if a plain one is not enough."""

_OF_THE_MACHINE: Final = re.compile(r"(cpu|features|clock|pm)(/\w+)*|devices/[a-z]+/address")
"""Paths of what has only plain values, whatever its attributes are: nothing there names a file."""

_FIRMWARE: Final = (
    r"(/usr/share/(OVMF|AAVMF|ovmf|edk2|qemu|qemu-efi-aarch64)"
    r"(/[A-Za-z0-9_-]+){0,2}/[A-Za-z0-9_-][A-Za-z0-9._-]*\.(fd|bin|raw|qcow2))?"
)


def foreign_parts(xml: str, layers: Collection[str] = ()) -> list[str]:
    """Return what in the XML of an export does not belong there, such as files of this machine.

    :param layers: the names of the files that disks may have.
    """
    root = parsed_xml(xml)
    special = {
        "FIRMWARE": _FIRMWARE,
        "LAYER": f"{DIRECTORY}/({'|'.join(map(re.escape, layers))})" if layers else r"(?!)",
    }
    table = {
        path: {name: special.get(pattern, pattern) for name, pattern in values.items()}
        for path, values in _ROWS.items()
    }
    return [part for element in root.iter() for part in _foreign(element, table)]


def parsed_xml(xml: str) -> etree._Element:
    """Return the XML of an export, in which nothing stands for something else.

    :raises etree.XMLSyntaxError: if it is no XML.
    :raises ValueError: if it declares a document type, which may have entities.
    """
    root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True))
    if root.getroottree().docinfo.doctype:
        raise ValueError("its XML declares a document type")
    return root


def _rows() -> Iterator[tuple[str, dict[str, str]]]:
    for line in _TABLE.split("\n")[1:-1]:
        path, *values = line.split(" ")
        pairs = (value.partition("=") for value in values)
        yield path, {name: pattern or _PLAIN for name, _, pattern in pairs}


_ROWS: Final = dict(_rows())


def _foreign(element: etree._Element, table: dict[str, dict[str, str]]) -> Iterator[str]:
    path = _path(element)
    if _OF_THE_MACHINE.fullmatch(path):
        values = {_TEXT: _PLAIN, **{str(name): _PLAIN for name in element.attrib}}
    elif path in table:
        values = table[path]
    else:
        yield f"<{path}>"
        return
    for name, value in element.attrib.items():
        if name == _TEXT or not re.fullmatch(values.get(str(name), "(?!)"), str(value)):
            yield f"<{path} {name}={str(value)!r}>"
    yield from _foreign_text(path, element, values.get(_TEXT, ""))
    yield from _lacking(path, element)


def _foreign_text(path: str, element: etree._Element, pattern: str) -> Iterator[str]:
    """Find text where none belongs, also that behind a child."""
    texts = [element.text or "", *(child.tail or "" for child in element)]
    first = texts[0] if pattern and len(texts) == 1 else texts[0].strip()
    allowed = pattern if len(texts) == 1 else ""
    if first.strip() and not re.fullmatch(allowed, first):
        yield f"<{path}>{first}"
    yield from (f"<{path}>{tail.strip()}" for tail in texts[1:] if tail.strip())


def _lacking(path: str, element: etree._Element) -> Iterator[str]:
    """Find what would do harm by what libvirt adds to it."""
    if path == "os/loader" and (element.text or "").strip() and element.get("readonly") != "yes":
        yield f"<{path}> without readonly='yes'"
    if path == "devices/graphics" and element.find("listen") is None:
        yield f"<{path}> without <listen type='none'>"


def _path(element: etree._Element) -> str:
    """Return where an element is; below `domain`, without that."""
    tags = [str(each.tag) for each in (element, *element.iterancestors())]
    return "/".join(reversed(tags[:-1])) or tags[0]
