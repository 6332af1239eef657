# SPDX-License-Identifier: GPL-2.0-only
"""What holds a build together; a real one is in tests/integration."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path

import pytest

from fake_images import fake_image
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import build as build_module
from latent_libvirt.images import recipes, workspace
from latent_libvirt.images.build import build, extract_boot_files
from latent_libvirt.images.description import Description
from latent_libvirt.images.local import DESCRIPTION, MANIFEST, LocalImage
from latent_libvirt.images.programs import BuildError
from latent_libvirt.images.progress import Reporter
from latent_libvirt.images.recipes import Recipe
from latent_libvirt.images.rootfs import Rootfs


@pytest.fixture
def recipe() -> Recipe:
    return recipes.load("debian-12")


def built_from(recipe: Recipe, image: LocalImage) -> LocalImage:
    """Let an image say that it was built from *recipe*."""
    values = image.description.model_dump() | {"recipe": recipe.fingerprint}
    description = Description.model_validate(values)
    (image.directory / DESCRIPTION).write_text(description.to_json())
    return LocalImage.load(image.directory)


class FailingBuilder:
    """Stands in for the part that takes a minute: fails, with a file half written."""

    def __init__(self, _recipe: Recipe, *, cache: Path, draft: Path, reporter: Reporter) -> None:
        self._draft = draft

    def build(self) -> Rootfs:
        (self._draft / "half").write_text("half")
        raise BuildError("the power failed")


def test_an_image_of_the_very_same_recipe_is_not_built_again(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "Builder", FailingBuilder)
    fake_image(tmp_path, content=b"of another recipe", year=2030)
    image = built_from(recipe, fake_image(tmp_path))

    assert build(recipe, tmp_path) == image

    with pytest.raises(BuildError):
        build(recipe, tmp_path, rebuild=True)


def test_a_build_that_fails_leaves_no_half_image(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "Builder", FailingBuilder)
    killed = tmp_path / "debian-12/draft-of-a-killed-build"
    killed.mkdir(parents=True)
    (killed / "disk.raw").write_text("half")

    with pytest.raises(BuildError, match="the power failed"):
        build(recipe, tmp_path)

    assert not (tmp_path / "debian-12").exists()


class OtherPackages(FailingBuilder):
    """Stands in for the same part, on a day with other packages than the manifest's."""

    def build(self) -> Rootfs:
        return Rootfs(self._draft / "root.tar", "bash 99\n")


def test_a_locked_build_refuses_other_packages_and_leaves_no_image(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "Builder", OtherPackages)

    with pytest.raises(ConfigurationError, match=r"deb bash: 99 \(was 5\.") as caught:
        build(recipe, tmp_path, locked=True)

    assert "Build without --locked" in (caught.value.resolution or "")
    assert not (tmp_path / "debian-12").exists()


class Notes(Reporter):
    """Keeps what people should read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_build_with_other_packages_says_what_that_means(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "Builder", OtherPackages)
    reporter = Notes()

    with pytest.raises(FileNotFoundError, match=r"root\.tar"):  # the stand-in makes none
        build(recipe, tmp_path, reporter=reporter)

    assert "deb bash: 99 (was 5." in "".join(reporter.notes)
    assert "The image is good" in reporter.notes[-1]
    assert "--locked refuses" in reporter.notes[-1]


def test_an_image_of_other_packages_does_not_pass_for_a_locked_one(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "Builder", OtherPackages)
    image = built_from(recipe, fake_image(tmp_path))
    expected = image.directory / MANIFEST

    expected.write_bytes(recipe.manifest.read_bytes())
    assert build(recipe, tmp_path, locked=True) == image

    expected.write_text("deb bash 1\n")
    with pytest.raises(ConfigurationError, match="are not those of"):
        build(recipe, tmp_path, locked=True)


def test_builds_of_one_image_wait_for_each_other_and_share_the_result(
    tmp_path: Path, recipe: Recipe
) -> None:
    told: list[str] = []
    second_waits = threading.Event()

    class Told(Reporter):
        def stage(self, text: str) -> None:
            told.append(text)
            second_waits.set()

    results: list[LocalImage] = []
    second = threading.Thread(
        target=lambda: results.append(build(recipe, tmp_path, reporter=Told()))
    )
    (tmp_path / "debian-12").mkdir()
    with workspace.locked(tmp_path / "debian-12", Reporter()):
        second.start()
        assert second_waits.wait(60)
        image = built_from(recipe, fake_image(tmp_path))
    second.join(60)

    assert results == [image]
    assert told == ["waiting for another build of this image to end"]


def archive(directory: Path, *names: str) -> Path:
    path = directory / "root.tar"
    with tarfile.open(path, "w") as written:
        for name in names:
            header = tarfile.TarInfo(name)
            header.size = len(name)
            written.addfile(header, io.BytesIO(name.encode()))
    return path


def test_kernel_and_initial_ram_disk_are_taken_from_the_root_file_system(tmp_path: Path) -> None:
    names = ("./boot/config-6.1", "./boot/vmlinuz-6.1", "./boot/initrd.img-6.1")
    extract_boot_files(archive(tmp_path, *names), tmp_path)

    assert (tmp_path / "kernel").read_text() == "./boot/vmlinuz-6.1"
    assert (tmp_path / "initrd").read_text() == "./boot/initrd.img-6.1"


@pytest.mark.parametrize(
    "kernels", [(), ("./boot/vmlinuz-6.1", "./boot/vmlinuz-6.2", "./boot/initrd.img-6.1")]
)
def test_an_image_has_one_kernel(tmp_path: Path, kernels: tuple[str, ...]) -> None:
    root = archive(tmp_path, *kernels)

    with pytest.raises(BuildError, match="has one file"):
        extract_boot_files(root, tmp_path)
