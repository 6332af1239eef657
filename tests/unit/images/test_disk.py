# SPDX-License-Identifier: GPL-2.0-only
"""Where the boot loader goes. That a BIOS finds it there is tested by booting."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.images.disk import place_boot_loader
from latent_libvirt.images.programs import BuildError

SECTOR = 512
BOOT = b"B" * SECTOR
CORE = b"C" * 3 * SECTOR


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"." * 2**20 + b"partition")
    return path


def test_the_boot_loader_leaves_the_partition_table_and_the_partition_alone(disk: Path) -> None:
    place_boot_loader(disk, BOOT, CORE)

    content = disk.read_bytes()
    assert content[:440] == b"B" * 440
    assert content[440:SECTOR] == b"." * 72
    assert content[SECTOR : 4 * SECTOR] == CORE
    assert content[4 * SECTOR :].strip(b".") == b"partition"


def test_a_boot_loader_that_does_not_fit_is_refused(disk: Path) -> None:
    place_boot_loader(disk, BOOT, bytes(2047 * SECTOR))
    assert disk.read_bytes().endswith(b"partition")

    with pytest.raises(BuildError, match="does not fit"):
        place_boot_loader(disk, BOOT, bytes(2047 * SECTOR + 1))
