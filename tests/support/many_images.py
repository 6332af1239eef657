# SPDX-License-Identifier: GPL-2.0-only
"""Many versions of one image, which nobody can boot, for tests of what a look-up costs."""

from __future__ import annotations

from pathlib import Path

import libvirt

from fake_images import fake_image
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import images
from latent_libvirt.images.description import digest_of


def fill(pool: libvirt.virStoragePool, made: Path, count: int) -> None:
    """Put files into the directory of *pool* as an upload would, only quicker."""
    one = fake_image(made, name="debian").description
    directory = Path(parsed(pool.XMLDesc(), "pool").findtext("target/path") or "")
    for number in range(count):
        command_line = f"root=/dev/vda1 ro number={number}"
        description = one.model_copy(
            update={
                "command_line": command_line,
                "digest": digest_of(one.parts, command_line),
                "created": one.created.replace(minute=number // 60, second=number % 60),
            }
        )
        image = images.PublishedImage.of(description)
        (directory / image.json).write_text(description.to_json())
        for name in (image.disk, image.kernel, image.initrd):
            (directory / name).write_bytes(b"x")
    pool.refresh(0)
