# SPDX-License-Identifier: GPL-2.0-only
"""Architectures of guests: their names, as `uname -m` has them, and what goes with each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Architecture = Literal["x86_64", "aarch64"]

X86_64: Final = "x86_64"
AARCH64: Final = "aarch64"

QEMU_PACKAGES: Final = {X86_64: "qemu-system-x86", AARCH64: "qemu-system-arm"}
"""Debian packages with the QEMU that runs guests of each."""

FIRMWARE_PACKAGES: Final = {X86_64: "ovmf", AARCH64: "qemu-efi-aarch64"}
"""Debian packages with the UEFI of each."""

_DEFAULTS: Final = {AARCH64: {"machine": "virt", "firmware": "uefi"}}


def filled(label: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keys of *label* with what those of its architecture have in place of defaults."""
    arch = label.get("arch")
    return {**_DEFAULTS[arch], **label} if isinstance(arch, str) and arch in _DEFAULTS else label
