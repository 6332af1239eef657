# SPDX-License-Identifier: GPL-2.0-only
"""A bootable qcow2 disk from a root file system, without privileges and without loop mounts.

The disk has one partition and, in front of it, a boot loader for BIOSes. Disks for other machines
than x86-64 ones have none, and are booted by their kernel. Everything is fixed: equal root
file systems give equal disks.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.images import ext4
from latent_libvirt.images.architectures import X86_64
from latent_libvirt.images.programs import BuildError, fixed_environment, program, run

if TYPE_CHECKING:
    from latent_libvirt.images.recipes import Recipe

_SECTOR: Final = 512
_FIRST_SECTOR: Final = 2048
_BOOT_CODE: Final = 440  # bytes of the first sector that are not the partition table's
_GRUB: Final = Path("/usr/lib/grub/i386-pc")
_GRUB_MODULES: Final = ("biosdisk", "part_msdos", "ext2", "linux")

# No journal: a disk that is thrown away is not repaired either. No checksums: see ext4.py.
_FEATURES: Final = "^has_journal,^metadata_csum,^orphan_file"

_UNPACK_AND_FORMAT: Final = """
mkdir "$tree"
tar --extract --file="$archive" --directory="$tree" --numeric-owner --exclude='./dev/*'
exec "$@" -d "$tree" "$raw" "$size"
"""


class DiskBuilder:
    """Makes the disk of a recipe.

    :param draft: a directory for this build alone.
    """

    def __init__(self, recipe: Recipe, *, draft: Path) -> None:
        self._recipe = recipe
        self._draft = draft
        self._raw = draft / "disk.raw"
        self._namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:latent-libvirt:{recipe.name}")

    def build(self, archive: Path, target: Path) -> None:
        """Make *target* from the root file system in *archive*.

        :raises BuildError: a program failed.
        :raises ConfigurationError: the machine lacks a program.
        """
        self._partition()
        self._make_file_system(archive)
        epoch = self._recipe.settings.epoch
        ext4.set_times(self._raw, offset=_FIRST_SECTOR * _SECTOR, epoch=epoch)
        if self._recipe.settings.arch == X86_64:
            self._install_boot_loader()
        self._convert(target)

    def _partition(self) -> None:
        size = self._recipe.settings.virtual_size
        with self._raw.open("wb") as file:
            file.truncate(size)
        label = self._namespace.fields[0]
        script = f"label: dos\nlabel-id: {label:#010x}\nstart={_FIRST_SECTOR}, type=83, bootable\n"
        sfdisk = program("sfdisk", package="fdisk")
        done = subprocess.run(
            [sfdisk, "--quiet", "--no-reread", "--no-tell-kernel", str(self._raw)],
            check=False,
            input=script,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise BuildError("sfdisk failed", details=done.stderr.strip())

    def _make_file_system(self, archive: Path) -> None:
        settings = self._recipe.settings
        kibibytes = (settings.virtual_size - _FIRST_SECTOR * _SECTOR) // 1024
        fakeroot = program("fakeroot", package="fakeroot")
        environment = fixed_environment(
            tree=str(self._draft / "tree"),
            archive=str(archive),
            raw=str(self._raw),
            size=f"{kibibytes}k",
            E2FSPROGS_FAKE_TIME=str(settings.epoch),
        )
        shell = [fakeroot, "--", "sh", "-euc", _UNPACK_AND_FORMAT, "sh"]
        run([*shell, *self._mke2fs()], environment=environment)

    def _mke2fs(self) -> Iterator[str]:
        hash_seed = uuid.uuid5(self._namespace, "directory hashes")
        extended = f"offset={_FIRST_SECTOR * _SECTOR},hash_seed={hash_seed},root_owner=0:0"
        yield program("mke2fs", package="e2fsprogs")
        yield from ("-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "root")
        yield from ("-O", _FEATURES, "-U", str(self._namespace))
        # A lazily initialised file system would be initialised again in every VM.
        yield from ("-E", f"{extended},lazy_itable_init=0")

    def _install_boot_loader(self) -> None:
        script = self._recipe.boot_loader.read_text()
        config = self._draft / "grub.cfg"
        config.write_text(script.replace("@command_line@", self._recipe.command_line))
        core = self._draft / "core.img"
        mkimage = program("grub-mkimage", package="grub-common")
        run(
            [
                *(mkimage, "--format=i386-pc", "--prefix=(hd0,msdos1)/boot/grub"),
                *(f"--directory={_GRUB}", f"--config={config}", f"--output={core}"),
                *_GRUB_MODULES,
            ]
        )
        place_boot_loader(self._raw, (_GRUB / "boot.img").read_bytes(), core.read_bytes())

    def _convert(self, target: Path) -> None:
        qemu_img = program("qemu-img", package="qemu-utils")
        run([qemu_img, "convert", "-f", "raw", "-O", "qcow2", self._raw, target])


def place_boot_loader(disk: Path, boot: bytes, core: bytes) -> None:
    """Write a boot loader where a BIOS looks for it: into the first sectors of *disk*.

    GRUB's images are made to lie there: ``boot.img`` loads sector 1, which loads the rest.

    :raises BuildError: there is not enough room in front of the partition.
    """
    if len(core) > (_FIRST_SECTOR - 1) * _SECTOR:
        raise BuildError("the boot loader does not fit in front of the first partition")
    with disk.open("r+b") as file:
        file.write(boot[:_BOOT_CODE])
        file.seek(_SECTOR)
        file.write(core)
        file.flush()
        os.fsync(file.fileno())
