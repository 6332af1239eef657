# SPDX-License-Identifier: GPL-2.0-only
"""Volumes that are of no use in a storage pool of images, made behind libvirt's back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

UNFIT: Final = {
    "raw.img": ("it is no qcow2", "raw"),
    "disk.vmdk": ("it is no qcow2", "vmdk"),
    "lost.qcow2": ("its backing file .* is not there", "qcow2"),
    "encrypted.qcow2": ("it is encrypted", "qcow2"),
    "empty.qcow2": ("it is no qcow2", "raw"),
}
"""What no overlay can be based on: why, as a pattern, and the format that libvirt sees."""

_ENCRYPTED: Final = "encrypt.format=aes,encrypt.key-secret=key"
"""Not LUKS: qemu-img measures the processor for that, and fails on a busy machine."""


def make(directory: Path) -> None:
    """Make them in the directory of a storage pool."""
    raw, vmdk, lost, encrypted, empty = (directory / name for name in UNFIT)
    below = directory / "below.qcow2"
    _create("raw", str(raw))
    _create("vmdk", str(vmdk))
    _create("qcow2", str(below))
    _create("qcow2", "-F", "qcow2", "-b", str(below), str(lost))
    _create("qcow2", "--object", "secret,id=key,data=x", "-o", _ENCRYPTED, str(encrypted))
    below.unlink()
    empty.touch()


@contextmanager
def made(directory: Path) -> Iterator[None]:
    """Have them there for the length of a ``with`` block."""
    make(directory)
    try:
        yield
    finally:
        for name in UNFIT:
            (directory / name).unlink()


@contextmanager
def unnameable(directory: Path) -> Iterator[None]:
    """Have a file there whose name is no text, for the length of a ``with`` block."""
    file = directory / os.fsdecode(b"Pr\351sentation.iso")
    file.touch()
    try:
        yield
    finally:
        file.unlink()


def _create(kind: str, *arguments: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *arguments, "1M"], check=True)
