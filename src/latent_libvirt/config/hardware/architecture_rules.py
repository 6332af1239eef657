# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the keys of a label that follow from its architecture and firmware."""

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
_I440FX: Final = re.compile(r"pc(-i440fx.*|-[0-9.]+)?|isapc")
"""Machines with a chipset of 1996, which has no system management mode that Secure Boot needs."""

_PROCESSORS: Final = {
    X86_64: re.compile(
        r"(486|athlon|phenom|n270|conroe|penryn|nehalem|westmere|haswell|broadwell|skylake|"
        r"cascadelake|cooperlake|icelake|snowridge|denverton|knightsmill|dhyana|epyc|yongfeng|"
        r"pentium|core2?duo|(sandy|ivy)bridge|opteron|cpu64-|(kvm|qemu)(32|64)|"
        r"(sapphire|granite|diamond)rapids|(sierra|clearwater)forest).*",
        re.IGNORECASE,
    ),
    AARCH64: re.compile(
        r"(cortex-|neoverse-|a64fx|thunderx|falkor|kunpeng|tengyun|ft-2000|arm[0-9]).*",
        re.IGNORECASE,
    ),
}
"""Beginnings of the names that libvirt and QEMU have for processors of one architecture."""


def filled(label: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of *label* with what those of its architecture have in place of defaults."""
    arch = label.get("arch")
    return {**_DEFAULTS[arch], **label} if isinstance(arch, str) and arch in _DEFAULTS else label


def faults(label: Mapping[str, Any]) -> Iterator[tuple[str, PydanticCustomError]]:
    """Yield the keys of *label* that its architecture does not allow, and why."""
    yield from _other_processor(label)
    yield from _no_secure_boot(label)
    machine, firmware = label.get("machine"), label.get("firmware")
    is_virt = isinstance(machine, str) and _VIRT.fullmatch(machine) is not None
    if label.get("arch") == AARCH64:
        if isinstance(machine, str) and not is_virt:
            what = f"aarch64 has no machine {quoted(machine)}"
            remedy = "remove it, or write `virt` or a version of it"
            yield "machine", fault(what, remedy, beside=["arch"])
        if firmware in ("bios", "uefi-secure"):
            what = f"aarch64 has no firmware {quoted(str(firmware))}"
            yield "firmware", fault(what, "remove it, or write `uefi`", beside=["arch"])
    elif is_virt and label.get("arch", X86_64) == X86_64:
        what = f"x86_64 has no machine {quoted(str(machine))}"
        yield "machine", fault(what, "remove it, or add `arch: aarch64`")


def _other_processor(label: Mapping[str, Any]) -> Iterator[tuple[str, PydanticCustomError]]:
    """Find a processor that only machines of another architecture have."""
    arch, given = str(label.get("arch", X86_64)), label.get("cpu")
    name = given.partition(" ")[0] if isinstance(given, str) else ""
    for other, known in _PROCESSORS.items():
        if arch in _PROCESSORS and other != arch and known.fullmatch(name):
            what = f"{quoted(name)} is a processor of {other}, and the label has arch: {arch}"
            remedy = f"remove it, or name one of {arch}, `host` or `maximum`"
            yield "cpu", fault(what, remedy, beside=["arch"])


def _no_secure_boot(label: Mapping[str, Any]) -> Iterator[tuple[str, PydanticCustomError]]:
    """Find Secure Boot on a machine that cannot protect the firmware's variables."""
    machine = label.get("machine")
    is_old = isinstance(machine, str) and _I440FX.fullmatch(machine) is not None
    if is_old and label.get("firmware") == "uefi-secure":
        what = f"Secure Boot does not work on the machine {quoted(str(machine))}"
        yield "machine", fault(what, "write `q35`, or remove the key", beside=["firmware"])
