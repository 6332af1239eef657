# SPDX-License-Identifier: GPL-2.0-only
"""Differences of two images that should be equal: the files whose content or mode is not the same.

Only a test that fails asks for them. A digest alone does not say what to mend.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from latent_libvirt.images.local import FILES, LocalImage
from latent_libvirt.images.programs import program, run

_FIRST_PARTITION = 1024**2
_MOST = 40

Files = dict[str, tuple[int, str]]
"""By path: the mode, and a digest of the content."""


def differences(one: LocalImage, other: LocalImage) -> str:
    """Return a line for each file that differs."""
    first, second = _files(one), _files(other)
    lines = [
        f"{path}: {first.get(path)} is not {second.get(path)}"
        for path in sorted(first.keys() | second.keys())
        if first.get(path) != second.get(path)
    ]
    return "\n".join(["", *lines[:_MOST], f"{len(lines)} files differ"])


def _files(image: LocalImage) -> Files:
    boot = {name: (0, _digest(image.path(part))) for part, name in FILES.items()}
    with tempfile.TemporaryDirectory() as temporary:
        raw, tree = Path(temporary, "disk"), Path(temporary, "tree")
        tree.mkdir()
        system = f"driver=raw,offset={_FIRST_PARTITION},file.driver=qcow2"
        disk = f"{system},file.file.filename={image.path('disk')}"
        convert = [program("qemu-img", package="qemu-utils"), "convert", "--image-opts", disk]
        run([*convert, "-O", "raw", raw])
        run([program("debugfs", package="e2fsprogs"), "-R", f"rdump / {tree}", raw])
        return boot | {
            str(path.relative_to(tree)): (path.lstat().st_mode, _digest(path))
            for path in tree.rglob("*")
        }


def _digest(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if not path.is_file():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
