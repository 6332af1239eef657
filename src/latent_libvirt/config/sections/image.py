# SPDX-License-Identifier: GPL-2.0-only
"""A section of ``images``: a base image."""

from __future__ import annotations

from pydantic import (
    Field,
)

from latent_libvirt.config.fields.keys import KEY_EXAMPLE, PublicKeys
from latent_libvirt.config.fields.names import Digest, LibvirtName, Name
from latent_libvirt.config.fields.numbers import Share
from latent_libvirt.config.section import Section


class ImageConfig(Section):
    """A base image that a label's `image` names."""

    name: Name | None = Field(default=None, examples=["debian-12"])
    """Name under which the image was published, if it is not the key of this section."""

    digest: Digest | None = Field(default=None, examples=["3f9a0c52d1e7"])
    """First 12 or more digits of an image's digest, which pin the image. `latent-libvirt image
    list` shows the digests. Without this key, each new VM uses the image that was published
    last."""

    volume: LibvirtName | None = Field(default=None, examples=["fedora.qcow2"])
    """qcow2 volume of the storage pool that contains the launcher, in place of a published image.
    The firmware of the VM boots it. Excludes `name` and `digest`."""

    canary: Share | None = Field(default=None, examples=["10%"])
    """Share of the VMs that take a newly published version of the image, until it is accepted or
    withdrawn. Without this key, all new VMs take it at once. Excludes `digest`."""

    require_signed: PublicKeys | None = Field(default=None, examples=[KEY_EXAMPLE])
    """Public ssh key, or a list of them, of which one must have signed the image. The image is
    compared with its digest before a VM starts from it, and again when its volumes change. It comes
    before `master.require_signed`."""
