# SPDX-License-Identifier: GPL-2.0-only
"""README of an export: how to continue the VM with what any distribution has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from latent_libvirt.host.volumes.images import PREFIX
from latent_libvirt.images.description import DIGEST_DIGITS, NAME_PATTERN

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

`virsh -c qemu:///session console {domain}` opens its console, and Ctrl-] leaves it. In a VM of an
image that latent-libvirt has built, Enter opens a root shell there.

The guest's clock goes on from the time at which the VM was frozen. `date -s @SECONDS` in the guest
sets it, where SECONDS is what `date +%s` prints on this machine.

`virsh -c qemu:///session destroy {domain}` ends the VM. Delete the directory then.

libvirt restores a machine under its own name and UUID alone. It needs a processor that can do
all that <cpu> in domain.xml and host_cpu in export.json say, and a QEMU of the same version or a
newer one. A machine cannot be continued twice from the same files, since its disks change.
"""

_BASE: Final = """{number}. Copy the base image to {file}, or link it.{places} Its sha256 is
   {sha256}.
"""

_IMAGE: Final = " IMAGE is a disk that is not in the archive. Step 2 says where it is."

_VOLUME: Final = """ On a host of the pool, it is the volume
   {volume}."""

_BUILT: Final = """ Where the image was built, it is
   {path}/disk.qcow2 in the directory of local images. That is the one of
   `latent-libvirt image build --output`, by default ~/.cache/latent-libvirt/images."""

_OF_AN_IMAGE: Final = re.compile(
    rf"{re.escape(PREFIX)}\.(?P<name>{NAME_PATTERN})\.(?P<digest>[0-9a-f]{{{DIGEST_DIGITS}}})\.qcow2"
)


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
        image=_IMAGE if bases else "",
        number=len(bases) + 2,
        domain=export.domain,
        vm_id=export.vm_id,
        commands="\n".join(f"    {line}" for line in lines),
        base="".join(
            _BASE.format(
                number=number, file=layer.file, places=_places(layer.volume), sha256=layer.sha256
            )
            for number, layer in enumerate(bases, 2)
        ),
    )


def _places(volume: str) -> str:
    """Return where a base image can be copied from."""
    image = _OF_AN_IMAGE.fullmatch(volume)
    built = _BUILT.format(path=f"{image['name']}/{image['digest']}") if image else ""
    return _VOLUME.format(volume=volume) + built
