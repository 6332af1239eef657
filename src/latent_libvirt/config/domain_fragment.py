# SPDX-License-Identifier: GPL-2.0-only
"""Fragment of domain XML that a label adds to its VMs: its syntax, and what it may not change.

What the pool owns is refused, for it finds a VM, hears it and ends it by that. libvirt checks the
rest against its schema when a VM starts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pydantic_core import PydanticCustomError

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.faults import fault
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from lxml import etree

LONGEST: Final = 64 * 1024
"""Characters of a fragment: far more than any device needs."""

_PATH: Final = re.compile(r"(?:^|(?<=[\s=,:;'\"(\[{|]))\.{0,2}/[^\s,;'\"]*")
"""A path at the beginning of a value, or within one like an argument of QEMU's."""

_UP: Final = re.compile(r"/\.\.(?=[\s/,;'\"]|$)")

_OUR_DISKS: Final = ("vda", "vdb")


def parse(text: str) -> etree._Element:
    """Return a `domain` element with the elements of *text* below it.

    :raises PydanticCustomError: if it is no XML, or has what the pool owns.
    """
    if len(text) > LONGEST:
        raise fault(
            f"a fragment of {len(text):,} characters is out of reach",
            f"write at most {LONGEST:,}",
        )
    domain = _parsed(text)
    _refuse_foreign(domain)
    for element in domain:
        _refuse_misplaced(str(element.tag))
        for path, each in ((str(element.tag), element), *_below(element)):
            _refuse_owned(path, each)
    return domain


def fragment(text: str) -> str:
    """Return *text* without the blanks around it, if it can be a fragment.

    :raises PydanticCustomError: see :func:`parse`; also if it has no element.
    """
    if not len(parse(text)):
        raise fault("there is no element", "remove the key")
    return text.strip()


def paths_in(text: str) -> list[str]:
    """Return the paths that a fragment names, each once; none if it is no fragment."""
    elements = [*_elements(text)]
    values = [value for each in elements for value in (_text(each), *each.attrib.values())]
    found = [path for value in values for path in _paths(value)]
    return list(dict.fromkeys([*found, *filter(None, (each.get("file") for each in elements))]))


def _paths(value: str) -> Iterator[str]:
    yield from _PATH.findall(value)
    # A name may have a blank or a comma, after which a path goes on, and up.
    rest = _PATH.sub(" ", value)
    if (up := _UP.search(rest)) is not None:
        yield rest[up.start() + 1 :]


def _text(element: etree._Element) -> str:
    """Return the text of an element, which may have others within it."""
    return "".join([element.text or "", *(child.tail or "" for child in element)])


def disks_in(text: str) -> list[str]:
    """Return the targets of the disks of a fragment; none if it is no fragment."""
    return [_target(each, "dev") for each in _elements(text) if each.tag == "disk"]


def memory_in(text: str) -> int | None:
    """Return the bytes of the NUMA cells of a fragment; ``None`` if it has none."""
    from latent_libvirt.config.fragment_xml import memory_of_cells  # noqa: PLC0415

    root = next(_elements(text), None)
    return None if root is None else memory_of_cells(root)


def has_network_card(text: str) -> bool:
    """Whether a fragment has a network card; it has none if it is no fragment."""
    return any(each.tag == "interface" for each in _elements(text))


def has_command_line(text: str) -> bool:
    """Whether a fragment gives QEMU arguments or variables of its environment."""
    from latent_libvirt.config.fragment_xml import COMMAND_LINE  # noqa: PLC0415

    return any(each.tag == COMMAND_LINE for each in _elements(text))


def _elements(text: str) -> Iterator[etree._Element]:
    try:
        yield from _parsed(text).iter()
    except PydanticCustomError:
        return  # it is reported as that


def is_below(path: str, allowed: str) -> bool:
    """Whether *path* is *allowed*, or is below it."""
    plain, top = posixpath.normpath(path), posixpath.normpath(allowed).rstrip("/")
    return plain == top or plain.startswith(f"{top}/")


def _parsed(text: str) -> etree._Element:
    from lxml import etree  # noqa: PLC0415 - most configurations have no fragment

    from latent_libvirt.config import fragment_xml  # noqa: PLC0415

    try:
        domain = fragment_xml.domain(text)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise fault(
            f"this is not XML that can stand in a domain: {quoted(str(error))}",
            "write elements as they stand below <domain>, like "
            "<devices><watchdog model='i6300esb'/></devices>",
        ) from None
    if (domain.text or "").strip() or any((each.tail or "").strip() for each in domain):
        raise fault("there is text outside of any element", "remove it")
    return domain


def _below(element: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    return ((f"{element.tag!s}/{child.tag!s}", child) for child in element)


def _refuse_foreign(domain: etree._Element) -> None:
    """Refuse elements that libvirt refuses, and that would be no known ones here."""
    from latent_libvirt.config.fragment_xml import NAMESPACES  # noqa: PLC0415

    for element in domain.iter():
        namespace, brace, name = str(element.tag).removeprefix("{").rpartition("}")
        if brace and not namespace.startswith(NAMESPACES):
            what = f"<{name}> is of the namespace {quoted(namespace)}, which domains do not have"
            raise fault(what, "remove `xmlns` and the prefix")


def _refuse_owned(path: str, element: etree._Element) -> None:
    from latent_libvirt.config.fragment_xml import (  # noqa: PLC0415
        OUR_CHANNELS,
        OWNED,
        adds_memory,
    )

    if path in OWNED:
        raise fault(
            f"<{path.rpartition('/')[2]}> belongs to the pool: it {OWNED[path]}", "remove it"
        )
    if path == "devices/disk" and (device := _target(element, "dev")) in _OUR_DISKS:
        what = f"the disk {quoted(device)} belongs to the pool"
        raise fault(what, "name another target, like vdc")
    if path == "devices/memory" and adds_memory(element):
        raise fault("this memory is on top of the label's `memory`", "make that larger instead")
    if path == "devices/channel" and (name := _target(element, "name")).startswith(OUR_CHANNELS):
        raise fault(f"the channel {quoted(name)} belongs to the pool", "name another")


def _refuse_misplaced(name: str) -> None:
    """Refuse what libvirt would leave out without a word. It may know more by now than we do."""
    from latent_libvirt.config.fragment_xml import DEVICES, KNOWN  # noqa: PLC0415

    if name in KNOWN or ":" in name:
        return
    if name == "domain":
        raise fault("<domain> is around it already", "write what stands below <domain>")
    if name in DEVICES:
        raise fault(f"<{name}> is a device", "put it into <devices>")
    if (near := nearest(name, sorted(KNOWN))) is not None:
        raise fault(f"a domain has no <{quoted(name)[1:-1]}>", f"did you mean <{near}>?")


def _target(device: etree._Element, key: str) -> str:
    target = device.find("target")
    return "" if target is None else target.get(key, "")
