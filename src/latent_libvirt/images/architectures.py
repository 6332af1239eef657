# SPDX-License-Identifier: GPL-2.0-only
"""Architectures of images and guests: names, as `uname -m` has them, and what goes with each."""

from __future__ import annotations

from typing import Final, Literal

Architecture = Literal["x86_64", "aarch64"]

X86_64: Final = "x86_64"
AARCH64: Final = "aarch64"

QEMU_PACKAGES: Final = {X86_64: "qemu-system-x86", AARCH64: "qemu-system-arm"}
"""Debian packages with the QEMU that runs guests of each."""

FIRMWARE_PACKAGES: Final = {X86_64: "ovmf", AARCH64: "qemu-efi-aarch64"}
"""Debian packages with the UEFI of each."""

CONSOLES: Final = {X86_64: "ttyS0", AARCH64: "ttyAMA0"}
"""The first serial port of each, as Linux names it."""

DEBIAN_NAMES: Final = {X86_64: "amd64", AARCH64: "arm64"}
