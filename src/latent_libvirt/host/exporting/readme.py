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

    latent-libvirt thaw FILE --uri qemu:///session{options}

continues it. FILE is this archive.{image} The same can be done with libvirt's virsh and with
qemu-img, in this order:

1. Unpack the archive into a new directory, and go there.
{base}{number}. Run these commands there:

{commands}

libvirt restores a machine under its own name and UUID alone. It needs a processor that can do
all that <cpu> in domain.xml and host_cpu in export.json say, and a QEMU of the same version or a
newer one. A machine cannot be continued twice from the same files, since its disks change.
"""

_BASE: Final = """{number}. Copy the base image to {file}, or link it. It is that of {image},
   with the sha256 {sha256}.
"""

_IMAGE: Final = " IMAGE is the disk of {image}, which is not in the archive."


def format_of(file: str) -> str:
    """Return the format of a layer, by the name of its file."""
    return file.rpartition(".")[2]


def commands(layers: Sequence[Layer], domain: str) -> list[str]:
    """Return the commands that continue a VM, in the directory of its files."""
    return [
        *(
            f"qemu-img rebase -u -f qcow2 -F {format_of(layer.below)} "
            f'-b "$PWD/{layer.below}" {layer.file}'
            for layer in layers
            if layer.below and layer.is_packed
        ),
        'sed -i "s|@DIRECTORY@|$PWD|g" domain.xml',
        'virsh -c qemu:///session restore "$PWD/memory.state" --xml domain.xml --running',
        f"virsh -c qemu:///session dominfo {domain}",
    ]


def readme(export: Export) -> str:
    """Return the README of *export*."""
    lines = commands(export.layers, export.domain)
    bases = [layer for layer in export.layers if not layer.is_packed]
    return _TEXT.format(
        options=" --base IMAGE" * len(bases),
        image=_IMAGE.format(image=export.image) if bases else "",
        number=len(bases) + 2,
        domain=export.domain,
        vm_id=export.vm_id,
        commands="\n".join(f"    {line}" for line in lines),
        base="".join(
            _BASE.format(number=number, file=layer.file, image=export.image, sha256=layer.sha256)
            for number, layer in enumerate(bases, 2)
        ),
    )
