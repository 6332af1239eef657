# SPDX-License-Identifier: GPL-2.0-only
"""Recipes: those that ship, and what makes two of them differ."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import recipes
from latent_libvirt.images.recipes import Recipe


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of a recipe that may be changed."""
    directory = tmp_path / "debian-12"
    shutil.copytree(recipes.load("debian-12").directory, directory)
    return directory


def test_debian_12_ships_with_the_package() -> None:
    assert "debian-12" in recipes.names()


def test_a_recipe_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'debian-12'"):
        recipes.load("debain-12")


@pytest.mark.parametrize("name", ["", "..", "debian-12/files", "/etc"])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no recipe"):
        recipes.load(name)


def test_equal_recipes_have_equal_fingerprints(copy: Path) -> None:
    assert Recipe(copy).fingerprint == recipes.load("debian-12").fingerprint


@pytest.mark.parametrize("file", ["recipe.toml", "customize", "initrd-init", "files/etc/fstab"])
def test_any_change_of_a_recipe_is_another_recipe(copy: Path, file: str) -> None:
    with (copy / file).open("a") as changed:
        changed.write("\n")

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_a_file_that_is_no_longer_executable_makes_another_recipe(copy: Path) -> None:
    (copy / "customize").chmod(0o644)

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_a_file_that_was_moved_makes_another_recipe(copy: Path) -> None:
    (copy / "files/etc/fstab").rename(copy / "files/fstab")

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_what_came_of_a_recipe_is_not_part_of_it(copy: Path) -> None:
    (copy / "manifest.txt").unlink()

    assert Recipe(copy).fingerprint == recipes.load("debian-12").fingerprint


@pytest.mark.parametrize("line", ["surprise = 1", "epoch = 0", "suite ="])
def test_a_recipe_that_makes_no_sense_is_refused(copy: Path, line: str) -> None:
    text = (copy / "recipe.toml").read_text()
    kept = (row for row in text.splitlines() if not row.startswith(line.split(" ", 1)[0]))
    (copy / "recipe.toml").write_text("\n".join([line, *kept]))

    with pytest.raises(ConfigurationError, match=r"recipe\.toml is no recipe"):
        Recipe(copy)


@pytest.mark.parametrize("name", recipes.names())
def test_the_scripts_of_a_recipe_are_shell(name: str) -> None:
    directory = recipes.load(name).directory
    for path in directory.rglob("*"):
        if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/busybox sh")):
            subprocess.run(["sh", "-n", str(path)], check=True)


def test_the_command_line_is_one_line_of_words() -> None:
    command_line = recipes.load("debian-12").command_line

    assert command_line == " ".join(command_line.split())
    assert "root=/dev/vda1" in command_line.split()


# Recipes of one's own.


def extension(directory: Path, text: str, *, name: str = "mine") -> Path:
    """Write a recipe."""
    (directory / name).mkdir()
    (directory / name / "recipe.toml").write_text(text)
    return directory / name


def script(directory: Path, name: str = "setup") -> None:
    (directory / name).write_text("#!/bin/sh\n")
    (directory / name).chmod(0o755)


def test_an_extension_adds_packages_files_and_a_script_to_its_base(tmp_path: Path) -> None:
    text = 'base = "debian-12"\npackages = ["gcc", "git"]\nscript = "setup"\n'
    own = extension(tmp_path, text)
    script(own)
    (own / "files/etc").mkdir(parents=True)
    for name in ("hosts", "more"):
        (own / "files/etc" / name).write_text(name)
    base, found = recipes.load("debian-12"), recipes.find(str(own))

    assert found.name == "mine"
    assert found.settings.packages == [*base.settings.packages, "gcc"]
    assert found.settings.suite == base.settings.suite
    assert found.script == own / "setup"
    assert found.customize == base.customize
    assert found.files.keys() == base.files.keys() | {"etc/more"}
    assert found.files["etc/hosts"] == own / "files/etc/hosts"


def test_the_disk_of_an_extension_may_be_larger(tmp_path: Path) -> None:
    own = extension(tmp_path, f'base = "debian-12"\nvirtual_size = {2**35}\n')

    assert recipes.find(str(own)).settings.virtual_size == 2**35


def test_an_extension_of_another_release_has_its_packages_and_its_own_downloads(
    tmp_path: Path,
) -> None:
    own = extension(tmp_path, 'base = "debian-13"\nscript = "setup"\npackages = ["gcc"]\n')
    script(own)
    base, found = recipes.load("debian-13"), recipes.find(str(own))

    assert (base.settings.suite, base.settings.python) == ("trixie", "3.13")
    assert (base.downloads, found.downloads) == ("debian-13", "debian-13")
    assert found.settings.suite == "trixie"
    assert found.requirements == base.directory / "requirements.txt"
    assert found.customize == recipes.load("debian-12").customize
    assert found.scripts == (own / "setup",)


def test_an_extension_for_another_architecture_has_the_packages_for_that(tmp_path: Path) -> None:
    own = extension(tmp_path, 'base = "debian-12"\narch = "aarch64"\n')
    base, found = recipes.load("debian-12"), recipes.find(str(own))

    assert (base.settings.arch, found.settings.arch) == ("x86_64", "aarch64")
    assert found.settings.architecture == "arm64"
    assert "linux-image-cloud-arm64" in found.settings.packages
    assert not [each for each in found.settings.packages if "amd64" in each]
    assert "console=ttyAMA0" in found.command_line.split()
    assert "ttyS0" not in found.command_line
    assert {"aarch64"} == {each[-7:] for each in found.settings.wheel_platforms}
    assert found.downloads == "mine"


def test_an_extension_of_one_for_another_architecture_is_for_that_as_well(tmp_path: Path) -> None:
    own = extension(tmp_path, 'base = "debian-12-aarch64"\npackages = ["gcc"]\n')

    found = recipes.find(str(own))

    assert found.settings.arch == "aarch64"
    assert found.downloads == "debian-12-aarch64"


def test_an_architecture_that_guests_cannot_have_is_refused(tmp_path: Path) -> None:
    own = extension(tmp_path, 'base = "debian-12"\narch = "arm64"\n')

    with pytest.raises(ConfigurationError, match=r"recipe\.toml is no recipe") as refused:
        recipes.find(str(own))
    assert "arch: Input should be 'x86_64' or 'aarch64'" in (refused.value.details or "")


def test_an_extension_is_another_one_when_it_or_its_base_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Path
) -> None:
    own = extension(tmp_path, 'base = "debian-12"\n')
    before = recipes.find(str(own)).fingerprint
    (own / "files").mkdir()
    (own / "files/more").write_text("")
    changed = recipes.find(str(own)).fingerprint
    monkeypatch.setattr(recipes, "_INSTALLED", copy.parent)
    (copy / "customize").write_text("#!/bin/sh\n")

    assert len({before, changed, recipes.find(str(own)).fingerprint}) == 3


def test_a_whole_recipe_may_lie_anywhere(copy: Path) -> None:
    own = copy.rename(copy.with_name("mine"))

    assert recipes.find(f"{own}/").name == "mine"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('base = "debain-12"\n', "base: did you mean 'debian-12'?"),
        ('base = "fedora"\n', "base: "),
        ("base = 12\n", "base: Input should be a valid string"),
        ('base = "debian-12"\npackage = []\n', "package: did you mean 'packages'?"),
        ('base = "debian-12"\nsuite = "Sid"\n', "suite: 'Sid' is not Debian's code name"),
        ('base = "debian-12"\npackages = "gcc"\n', "packages: Input should be a valid list"),
        (
            'base = "debian-12"\npackages = ["gcc", "a,b"]\n',
            "packages.1: 'a,b' is not the name",
        ),
        ('base = "debian-12"\npackages = ["--yes"]\n', "packages.0: '--yes' is not the name"),
        ('base = "debian-12"\nscript = "../x"\n', "script: '../x' is not the name of a file"),
        ('base = "debian-12"\nscript = "gone"\n', "script: there is no file"),
        ('base = "debian-12"\nscript = "recipe.toml"\n', "is not executable"),
        (
            'base = "debian-12"\nvirtual_size = 1\n',
            "virtual_size: 1 is not a size",
        ),
        ('base = "debian-12"\nvirtual_size = 11_529_215_046_068_469_760\n', "512 MiB to 64 TiB"),
        ('base = "debian-12"\nvirtual_size = -1_048_576\n', "512 MiB to 64 TiB"),
        ('base = "debian-12"\nvirtual_size = 0\n', "512 MiB to 64 TiB"),
        ('base = "debian-12"\nvirtual_size = 1_048_576\n', "512 MiB to 64 TiB"),
        ('base = "debian-12"\nvirtual_size = 536_870_913\n', "512 MiB to 64 TiB"),
        ('base = "debian-12"\npython = "3.123"\n', "is not a version of Python 3"),
        (f'base = "{"9" * 5000}"\nvirtual_size = {"9" * 5000}\n', ""),
        (f"base = {'[' * 100_000}\n", "nested too deeply"),
        ("base =\n", "line 1"),
        ('suite = "bookworm"\n', "packages: Field required"),
    ],
)
def test_a_recipe_of_ones_own_that_makes_no_sense_is_refused_with_its_key(
    tmp_path: Path, text: str, why: str
) -> None:
    own = extension(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        recipes.find(str(own))

    assert str(own / "recipe.toml") in refused.value.brief
    assert why in (refused.value.details or "")


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    own = extension(tmp_path, "")
    (own / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"recipe\.toml is no recipe"):
        recipes.find(str(own))


def test_a_whole_recipe_without_one_of_its_files_is_refused(copy: Path) -> None:
    own = copy.rename(copy.with_name("mine"))
    (own / "grub.cfg").unlink()
    (own / "customize").chmod(0o644)
    with pytest.raises(ConfigurationError) as refused:
        recipes.find(str(own))

    assert f"there is no file {own / 'grub.cfg'}" in (refused.value.details or "")
    assert f"{own / 'customize'} is not executable" in (refused.value.details or "")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("debian-12", "is the name of a recipe that ships"),
        ("Mine", "is no name of an image"),
        ("empty", "is no recipe"),
        ("file", "is no directory"),
        ("nothing", "is no directory"),
    ],
)
def test_a_directory_that_cannot_be_a_recipe_is_refused(
    tmp_path: Path, name: str, why: str
) -> None:
    for each in ("debian-12", "Mine", "empty"):
        (tmp_path / each).mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=why):
        recipes.find(str(tmp_path / name))


def dangling(path: Path) -> None:
    path.symlink_to("nothing")


def to_a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def to_a_directory(path: Path) -> None:
    path.symlink_to("/etc")


def to_a_file(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (dangling, "is a link, which is not copied"),
        (to_a_device, "systemctl mask"),
        (to_a_directory, "is a link, which is not copied"),
        (to_a_file, "is a link, which is not copied"),
        (os.mkfifo, "is neither a file nor a directory"),
        (Path.mkdir, "is an empty directory"),
    ],
)
def test_what_is_not_copied_from_a_recipes_files_is_refused_and_no_link_is_followed(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    own = extension(tmp_path, 'base = "debian-12"\n')
    (own / "files/etc").mkdir(parents=True)
    (own / "files/etc/motd").write_text("")
    make(own / "files/etc/odd")

    with pytest.raises(ConfigurationError) as refused:
        recipes.find(str(own))

    assert why in (refused.value.details or "")
    assert str(own / "files/etc/odd") in (refused.value.details or "")
    assert "etc/odd" not in Recipe(own).files


def test_a_link_in_place_of_all_files_is_refused(tmp_path: Path) -> None:
    own = extension(tmp_path, 'base = "debian-12"\n')
    (own / "files").symlink_to("/etc")

    with pytest.raises(ConfigurationError) as refused:
        recipes.find(str(own))

    assert refused.value.details
    assert refused.value.details.startswith(f"{own / 'files'} is a link")


def test_an_epoch_that_no_file_can_have_is_refused(copy: Path) -> None:
    text = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(text.replace("epoch = ", "epoch = 9_000_000_"))

    with pytest.raises(ConfigurationError) as refused:
        Recipe(copy)
    assert "epoch: " in (refused.value.details or "")
    assert "since the year 1970" in (refused.value.details or "")
