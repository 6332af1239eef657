# SPDX-License-Identifier: GPL-2.0-only
"""Builds for an architecture that this machine does not have: QEMU runs the image's programs.

mmdebstrap works in a user namespace then, also for root. There the kernel learns which programs are
QEMU's, and nothing of that is seen outside. Linux has that since 6.7. Older ones need an entry of
the machine's, such as Debian's binfmt-support makes.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from latent_libvirt.images.architectures import AARCH64, X86_64

PACKAGE: Final = "qemu-user-static"
"""The Debian package with QEMU for single programs."""

_MACHINES: Final = {X86_64: "3e", AARCH64: "b7"}
"""Low bytes of ELF's number of each architecture, in hexadecimal."""

_REGISTRY: Final = "/proc/sys/fs/binfmt_misc"
_IDS: Final = "root:100000:65536\n"
"""Users of the namespace, in the form of /etc/subuid: what root needs there like anybody else."""

_AS_ROOT: Final = 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"'


def is_foreign(arch: str) -> bool:
    """Whether this machine needs QEMU to run programs of *arch*."""
    return arch != platform.machine()


def qemu(arch: str) -> str:
    """Return the name of the QEMU that runs programs of *arch*."""
    return f"qemu-{arch}-static"


def prefix(scratch: Path) -> list[str]:
    """Return words before a command of root's that is to use a user namespace.

    :param scratch: a directory for a file that the command needs.
    """
    if os.geteuid() != 0:
        return []
    ids = scratch / "ids"
    ids.write_text(_IDS)
    return ["unshare", "--mount", "--", "sh", "-c", _AS_ROOT, str(ids)]


def options(arch: str, path: str) -> Iterator[str]:
    """Yield options of mmdebstrap for a system of *arch*.

    :param path: of the QEMU that runs its programs.
    """
    entry = shlex.quote(f":{qemu(arch)}:M::{_MAGIC.format(_MACHINES[arch])}:{_MASK}:{path}:OCF")
    known = f"[ -e {_REGISTRY}/{qemu(arch).removesuffix('-static')} ]"
    mount = f"mount -t binfmt_misc binfmt_misc {_REGISTRY}"
    yield "--mode=unshare"
    yield "--skip=check/qemu"
    yield f"--setup-hook={known} || {{ {mount} && printf %s {entry} >{_REGISTRY}/register; }}"


_MAGIC: Final = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\x{}\x00"
_MASK: Final = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
