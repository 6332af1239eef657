# SPDX-License-Identifier: GPL-2.0-only
"""README of an export: how to continue the VM with what any distribution has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.host.exporting.pack import Export, Layer

_TEXT: Final = """# A frozen VM

This archive has the VM {domain} (id {vm_id}), which was frozen in the middle of its
work. All that the machine knew is in its memory, except for the password of its Buildbot worker,
which is overwritten.

    latent-libvirt thaw FILE --uri qemu:///session

continues it. These commands do the same with libvirt's virsh and with qemu-img, in a new directory
that the archive was unpacked into.

{commands}

{base}libvirt restores a machine under its own name and UUID alone. It needs a processor that can do
all that <cpu> in domain.xml and host_cpu in export.json say, and a QEMU of the same version or a
newer one. A machine cannot be continued twice from the same files, since its disks change.
"""

_BASE: Final = """Before, copy the base image to {file}, or link it. It is that of {image}, with the
sha256 {sha256}.

"""


def commands(layers: Sequence[Layer], domain: str) -> list[str]:
    """Return the commands that continue a VM, in the directory of its files."""
    return [
        *(
            f'qemu-img rebase -u -f qcow2 -F qcow2 -b "$PWD/{layer.below}" {layer.file}'
            for layer in layers
            if layer.below
        ),
        'sed -i "s|@DIRECTORY@|$PWD|g" domain.xml',
        'virsh -c qemu:///session restore "$PWD/memory.state" --xml domain.xml --running',
        f"virsh -c qemu:///session dominfo {domain}",
    ]


def readme(export: Export) -> str:
    """Return the README of *export*."""
    lines = commands(export.layers, export.domain)
    bases = (layer for layer in export.layers if not layer.is_packed)
    return _TEXT.format(
        domain=export.domain,
        vm_id=export.vm_id,
        commands="\n".join(f"    {line}" for line in lines),
        base="".join(
            _BASE.format(file=layer.file, image=export.image, sha256=layer.sha256)
            for layer in bases
        ),
    )
