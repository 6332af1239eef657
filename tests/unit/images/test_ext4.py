# SPDX-License-Identifier: GPL-2.0-only
"""Times in an ext4 file system, set where nobody else can: with e2fsprogs as the judge."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latent_libvirt.images import ext4
from latent_libvirt.images.programs import BuildError, output_of, program, run

EPOCH = 1_700_000_000
OFFSET = 1024 * 1024
FEATURES = "^has_journal,^metadata_csum,^orphan_file"


def file_system(directory: Path, *options: str, features: str = FEATURES) -> Path:
    """Make a file system with some files, at the time that it is."""
    tree = directory / "tree"
    (tree / "deep/er").mkdir(parents=True)
    for number in range(50):
        (tree / f"deep/{number}").write_text(str(number))
    image = directory / "image"
    mke2fs = program("mke2fs", package="e2fsprogs")
    extended = f"offset={OFFSET},lazy_itable_init=0"
    run([mke2fs, "-q", "-F", "-t", "ext4", "-O", features, "-E", extended, *options, "-d", tree,
         image, "40M"])  # fmt: skip
    return image


def times_of(image: Path, name: str) -> set[str]:
    """Return the times of an inode as debugfs prints them, but for that of modification."""
    where = f"{image}?offset={OFFSET}"
    listed = output_of([program("debugfs", package="e2fsprogs"), "-R", f"stat {name}", where])
    return set(re.findall(r"^ *(?:a|c|cr)time: (0x[0-9a-f]+:[0-9a-f]+)", listed, re.MULTILINE))


@pytest.mark.parametrize("options", [(), ("-b", "1024"), ("-O", "^64bit"), ("-I", "512")])
def test_every_inode_gets_the_time_whatever_the_layout(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    image = file_system(tmp_path, *options)

    ext4.set_times(image, offset=OFFSET, epoch=EPOCH)

    for name in ("/", "/deep", "/deep/er", "/deep/0", "/deep/49", "/lost+found"):
        assert times_of(image, name) == {f"{EPOCH:#010x}:00000000"}


def test_the_file_system_is_still_sound(tmp_path: Path) -> None:
    image = file_system(tmp_path)

    ext4.set_times(image, offset=OFFSET, epoch=EPOCH)

    run([program("e2fsck", package="e2fsprogs"), "-f", "-n", f"{image}?offset={OFFSET}"])


def test_checksums_that_would_be_wrong_are_refused(tmp_path: Path) -> None:
    image = file_system(tmp_path, features="^has_journal,metadata_csum")

    with pytest.raises(BuildError, match="without metadata checksums"):
        ext4.set_times(image, offset=OFFSET, epoch=EPOCH)


def test_what_is_no_ext4_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(2 * OFFSET))

    with pytest.raises(BuildError, match="is not ext4"):
        ext4.set_times(image, offset=OFFSET, epoch=EPOCH)
