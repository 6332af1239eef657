# SPDX-License-Identifier: GPL-2.0-only
"""XML of a fragment, parsed without entities and comments, and what of a domain is the pool's."""

from __future__ import annotations

from typing import Final

from lxml import etree

_QEMU: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_OPENING: Final = f'<domain xmlns:qemu="{_QEMU}">'


OWNED: Final = {
    **dict.fromkeys(("name", "uuid", "title", "metadata"), "say whose a VM is"),
    "memory": "comes from the label's `memory`",
    "currentMemory": "comes from the label's `memory`",
    "vcpu": "comes from the label's `vcpus`",
    **dict.fromkeys(("on_poweroff", "on_reboot", "on_crash"), "end a VM for good"),
    **dict.fromkeys(("os/kernel", "os/initrd", "os/cmdline", "os/boot"), "come from the image"),
    "os/type": "comes from the label's `machine`",
    "devices/console": "is what the pool reads",
    "devices/serial": "is what the pool reads",
}
"""Elements that nobody but the pool may write, and why."""

OUR_CHANNELS: Final = "org.latent_libvirt."


def domain(text: str) -> etree._Element:
    """Return a `domain` element with the elements of *text* below it.

    :raises etree.XMLSyntaxError: if it is no XML.
    :raises ValueError: if it has characters that XML cannot have.
    """
    parser = etree.XMLParser(
        resolve_entities=False, remove_comments=True, remove_pis=True, remove_blank_text=True
    )
    return etree.fromstring(f"{_OPENING}{text}</domain>", parser)
