# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks with VMs share: a private libvirtd with the image, and a VM's hardware."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab as lab_module
from lab import Lab
from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.host import names
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    Hardware,
    VmRecord,
)
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.names import Owner
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import LocalImage
from latent_libvirt.images.recipes import Recipe

CACHE = Path(".cache")
IMAGE = "debian-12"
OWNER = Owner("bench", "bare")
VM_ID = "be"


def image() -> LocalImage:
    """Return the image that all VMs boot, built unless the cache has it."""
    return build(recipes.load(IMAGE), CACHE / "images")


def stock_image() -> LocalImage:
    """Return Debian as its installer leaves it, built unless the cache has it."""
    return build(Recipe(Path(__file__).with_name("debian-stock")), CACHE / "images")


@contextmanager
def lab_with_image() -> Iterator[tuple[Lab, Path]]:
    """Give a hypervisor with the image published, and a directory; both end with the block.

    So they do when the process is asked to end (SIGTERM): as by Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        directory = Path(temporary)
        with lab_module.running(directory / "lab", cache=CACHE) as lab:
            lab.publish(image())
            yield lab, directory


def domain_spec(
    number: int,
    *,
    disk: str,
    boot: DirectKernel | None,
    name: str | None = None,
    memory: str = "512MiB",
) -> DomainSpec:
    """Return a domain with the hardware that ``pools.PoolSettings`` asks for by default.

    :param number: of a slot; what it decides is the domain's UUID and MAC address.
    :param name: if not that of the slot.
    :param memory: of the guest, as a label has it.
    """
    vm = VmSpec(LabelConfig.model_validate({"image": "i", "memory": memory}), ImageConfig(name="i"))
    record = VmRecord(OWNER.id, "bench", "bare", VM_ID, IMAGE, "bare", "image", "now")
    hardware = Hardware("qemu", vm, names.slot_mac(OWNER.master, number))
    uuid = names.slot_uuid(OWNER.master, number)
    return DomainSpec(name or names.domain_name(number), uuid, record, hardware, disk, boot)
