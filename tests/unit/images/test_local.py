# SPDX-License-Identifier: GPL-2.0-only
"""Images in a local directory, found again and checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_images import fake_image
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import workspace
from latent_libvirt.images.local import FILES, LocalImage, local_images, newest
from latent_libvirt.images.stamps import STAMPS


def test_the_newest_image_of_a_name_is_found(tmp_path: Path) -> None:
    fake_image(tmp_path, content=b"old", year=2024)
    new = fake_image(tmp_path, content=b"new", year=2026)
    fake_image(tmp_path, content=b"middle", year=2025)
    fake_image(tmp_path, name="debian-13", year=2027)

    assert newest(tmp_path, "debian-12") == new
    assert [image.description.created.year for image in local_images(tmp_path)] == [
        2027,
        2026,
        2025,
        2024,
    ]


def test_an_image_that_is_not_there_is_named_with_the_command_that_builds_it(
    tmp_path: Path,
) -> None:
    fake_image(tmp_path, name="debian-12")

    with pytest.raises(ConfigurationError, match=r"no image 'debian-1' (.|\n)* build debian-1 "):
        newest(tmp_path, "debian-1")


def test_drafts_and_caches_are_no_images(tmp_path: Path) -> None:
    for name in ("cache", "draft-x", "0123456789abcdef"):
        (tmp_path / "debian-12" / name).mkdir(parents=True)

    assert local_images(tmp_path) == ()


def test_a_directory_without_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no image in"):
        LocalImage.load(tmp_path)


def test_an_image_that_nobody_touched_is_what_was_built(tmp_path: Path) -> None:
    image = fake_image(tmp_path)
    seen: list[tuple[int, int]] = []

    image.verify(lambda done, total: seen.append((done, total)))

    total = image.description.parts.size
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


@pytest.mark.parametrize("part", FILES)
def test_a_file_that_was_changed_is_named(tmp_path: Path, part: str) -> None:
    image = fake_image(tmp_path)
    file = image.directory / {str(name): file for name, file in FILES.items()}[part]
    file.write_bytes(b"other")

    with pytest.raises(ConfigurationError, match=f"{file} is not what was built"):
        image.verify()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    image = fake_image(tmp_path)
    image.path("initrd").unlink()

    with pytest.raises(ConfigurationError, match="initrd cannot be read"):
        image.verify()


def test_files_count_as_hashed_until_one_is_written_or_is_another(tmp_path: Path) -> None:
    local = fake_image(tmp_path / "built")
    assert not local.is_unchanged
    local.verify()
    assert LocalImage.load(local.directory).is_unchanged
    copy = tmp_path / "copy"
    shutil.copytree(local.directory, copy)
    assert not LocalImage.load(copy).is_unchanged
    status = local.path("kernel").stat()
    local.path("kernel").write_bytes(b"lenrek")
    os.utime(local.path("kernel"), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not local.is_unchanged


@pytest.mark.parametrize("write", [Path.touch, Path.unlink, lambda path: path.write_bytes(b"k")])
def test_files_that_are_written_on_the_way_are_named(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    local = fake_image(tmp_path)
    refused = pytest.raises(ConfigurationError, match=r"kernel was written|cannot be read")
    with refused, local.unwritten():
        write(local.path("kernel"))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"disk.qcow2": 1}', "[" * 60_000])
def test_stamps_that_are_damaged_are_none(tmp_path: Path, text: str) -> None:
    local = fake_image(tmp_path)
    local.verify()
    (local.directory / STAMPS).write_text(text)

    assert not local.is_unchanged
    local.verify()
    assert local.is_unchanged


def test_an_image_is_stamped_as_it_gets_its_place(tmp_path: Path) -> None:
    built = fake_image(tmp_path / "built")
    target = tmp_path / "out"
    target.mkdir()

    assert workspace.place(built.directory, target, built.description).is_unchanged
