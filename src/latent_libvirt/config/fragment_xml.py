# SPDX-License-Identifier: GPL-2.0-only
"""XML of a fragment below a domain element, parsed without entities and without comments."""

from __future__ import annotations

from typing import Final

from lxml import etree

_QEMU: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_OPENING: Final = f'<domain xmlns:qemu="{_QEMU}">'


def domain(text: str) -> etree._Element:
    """Return a `domain` element with the elements of *text* below it.

    :raises etree.XMLSyntaxError: if it is no XML.
    :raises ValueError: if it has characters that XML cannot have.
    """
    parser = etree.XMLParser(
        resolve_entities=False, remove_comments=True, remove_pis=True, remove_blank_text=True
    )
    return etree.fromstring(f"{_OPENING}{text}</domain>", parser)
