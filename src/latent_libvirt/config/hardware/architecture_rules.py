# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the keys of a label that follow from its architecture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.config.faults import fault
from latent_libvirt.config.text import quoted
from latent_libvirt.images.architectures import AARCH64, X86_64

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

_DEFAULTS: Final = {AARCH64: {"machine": "virt", "firmware": "uefi"}}
_VIRT: Final = re.compile(r"virt(-[0-9.]+)?")


def filled(label: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of *label* with what those of its architecture have in place of defaults."""
    arch = label.get("arch")
    return {**_DEFAULTS[arch], **label} if isinstance(arch, str) and arch in _DEFAULTS else label


def faults(label: Mapping[str, Any]) -> Iterator[tuple[str, PydanticCustomError]]:
    """Yield the keys of *label* that its architecture does not allow, and why."""
    machine, firmware = label.get("machine"), label.get("firmware")
    is_virt = isinstance(machine, str) and _VIRT.fullmatch(machine) is not None
    if label.get("arch") == AARCH64:
        if isinstance(machine, str) and not is_virt:
            what = f"aarch64 has no machine {quoted(machine)}"
            yield "machine", fault(what, "remove it, or write `virt` or a version of it")
        if firmware in ("bios", "uefi-secure"):
            what = f"aarch64 has no firmware {quoted(str(firmware))}"
            yield "firmware", fault(what, "remove it, or write `uefi`")
    elif is_virt and label.get("arch", X86_64) == X86_64:
        what = f"x86_64 has no machine {quoted(str(machine))}"
        yield "machine", fault(what, "remove it, or add `arch: aarch64`")
