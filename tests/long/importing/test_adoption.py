# SPDX-License-Identifier: GPL-2.0-only
"""Disks that keep the image contract are published: a VM of each shows that, in a minute."""

from __future__ import annotations

from pathlib import Path

import libvirt
import pytest

import efi_disk
from imports import leftovers, processes, run
from lab import STORAGE_POOL
from latent_libvirt.config import ImageConfig
from latent_libvirt.config.sections.label import LabelConfig
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inspection
from latent_libvirt.host.volumes import images
from latent_libvirt.images.local import LocalImage, local_images
from latent_libvirt.images.programs import program
from latent_libvirt.images.programs import run as run_program
from latent_libvirt.sandbox import PrivateLibvirtd


@pytest.fixture
def published(sandbox: PrivateLibvirtd) -> tuple[str, ...]:
    """Give the options that name a storage pool of a test's libvirtd."""
    sandbox.define_storage_pool(STORAGE_POOL)
    return ("--uri", sandbox.uri, "--pool", STORAGE_POOL)


def test_a_disk_that_keeps_the_contract_is_published_in_one_file(
    image: LocalImage, tmp_path: Path, sandbox: PrivateLibvirtd, published: tuple[str, ...]
) -> None:
    disk, output = tmp_path / "mine.vdi", tmp_path / "out"
    convert = (program("qemu-img", package="qemu-utils"), "convert", "-f", "qcow2", "-O", "vdi")
    run_program([*convert, image.path("disk"), disk])
    status, out, err = run(disk, "--name", "mine", "--output", output, *published, verb="publish")

    assert (status, err) == (0, ""), out + err
    (local,) = local_images(output, "mine")
    assert local.description.launcher == image.description.launcher
    assert local.description.parts.kernel is None
    assert leftovers(output) == {local.description.short_digest}
    assert processes(output) == []
    connection = libvirt.open(sandbox.uri)
    try:
        found = images.find(connection.storagePoolLookupByName(STORAGE_POOL), "mine")
    finally:
        connection.close()
    assert found.digest == local.description.digest


def test_a_disk_that_only_uefi_boots_is_published_and_its_labels_have_to_say_so(
    image: LocalImage, tmp_path: Path, sandbox: PrivateLibvirtd, published: tuple[str, ...]
) -> None:
    disk, output = tmp_path / "mine.raw", tmp_path / "out"
    menu = f"linux /kernel {image.description.command_line}\ninitrd /initrd\nboot\n"
    files = {"kernel": image.path("kernel"), "initrd": image.path("initrd")}
    table, source = efi_disk.GPT, image.path("disk")
    efi_disk.write(tmp_path, disk, source, table=table, menu=menu, files=files)
    status, out, err = run(disk, "--name", "mine", "--output", output, *published, verb="publish")

    assert (status, err) == (0, ""), out + err
    assert "It boots by UEFI only. Labels for it have firmware: uefi." in out
    (local,) = local_images(output, "mine")
    assert local.description.firmware == "uefi"
    assert processes(output) == []
    connection = libvirt.open(sandbox.uri)
    wanted = ImageConfig(name="mine")
    try:
        label = LabelConfig(image="mine", firmware="uefi")
        found = inspection.image(connection, STORAGE_POOL, wanted, label)
        with pytest.raises(ConfigurationError, match="mine boots by UEFI only"):
            inspection.image(connection, STORAGE_POOL, wanted, LabelConfig(image="mine"))
    finally:
        connection.close()
    assert found.digest == local.description.digest
