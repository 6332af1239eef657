# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the keys of a label that its architecture does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.config.faults import fault
from latent_libvirt.config.hardware.architectures import AARCH64, X86_64
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

_VIRT: Final = re.compile(r"virt(-[0-9.]+)?")


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
