# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image`` on local images; what needs a hypervisor is in tests/integration."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fake_images import fake_image
from latent_libvirt.cli import main
from latent_libvirt.cli.image import building, shown
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.images.local import LocalImage, describe
from latent_libvirt.images.programs import BuildError
from latent_libvirt.images.progress import Reporter
from latent_libvirt.images.recipes import Recipe


def image(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["image", *map(str, arguments)])


class Builder:
    """Stands in for the build, which takes a minute: remembers how it was asked."""

    def __init__(self, result: LocalImage | LatentLibvirtError) -> None:
        self._result = result
        self.asked: dict[str, object] = {}

    def __call__(
        self, recipe: Recipe, output: Path, *, rebuild: bool, locked: bool, reporter: Reporter
    ) -> LocalImage:
        self.asked = {"recipe": recipe.name, "rebuild": rebuild, "locked": locked}
        reporter.stage("making the disk")
        reporter.detail("Unpacking bash [amd64]")
        reporter.note("not as in the recipe's manifest: deb bash: 2 (was 1)")
        if isinstance(self._result, LatentLibvirtError):
            raise self._result
        return self._result


def build_with(monkeypatch: pytest.MonkeyPatch, builder: Builder) -> None:
    monkeypatch.setattr(building, "build_image", builder)


def test_a_build_says_what_it_does_and_where_the_image_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = fake_image(tmp_path)
    builder = Builder(built)
    build_with(monkeypatch, builder)

    result = image("build", "debian-12", "--output", tmp_path)

    assert result.exit_code == 0
    assert "making the disk" in result.stdout
    assert "deb bash: 2 (was 1)" in result.stdout
    assert str(built.directory) in result.stdout
    assert builder.asked == {"recipe": "debian-12", "rebuild": False, "locked": False}


def test_a_log_of_a_build_has_a_detail_of_a_long_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_with(monkeypatch, Builder(fake_image(tmp_path)))
    assert "Unpacking bash" not in image("build", "debian-12", "--output", tmp_path).stdout

    monkeypatch.setattr(shown, "_LOG_INTERVAL", 0.0)
    assert "Unpacking bash [amd64]" in image("build", "debian-12", "--output", tmp_path).stdout


def test_the_options_of_a_build_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(fake_image(tmp_path))
    build_with(monkeypatch, builder)

    image("build", "debian-12", "--output", tmp_path, "--locked", "--rebuild")

    assert builder.asked == {"recipe": "debian-12", "rebuild": True, "locked": True}


def test_a_build_that_fails_tells_why_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = BuildError("mmdebstrap failed with status 25", details="E: no space left on device")
    build_with(monkeypatch, Builder(error))

    result = image("build", "debian-12", "--output", tmp_path)

    assert result.exit_code == 1
    assert "mmdebstrap failed" in result.stderr
    assert "no space left" in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_recipe_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    result = image("build", "debain-12", "--output", tmp_path)

    assert result.exit_code == 1
    assert "Did you mean 'debian-12'?" in result.stderr


def test_images_are_listed(tmp_path: Path) -> None:
    assert "There are none." in image("list", "--output", tmp_path).stdout

    built = fake_image(tmp_path, name="debian-12")

    listed = image("list", "--output", tmp_path).stdout
    assert f"debian-12  {built.description.short_digest}" in listed


def test_a_list_says_which_images_no_bios_boots(tmp_path: Path) -> None:
    fake_image(tmp_path, name="one")
    assert "firmware" not in image("list", "--output", tmp_path).stdout

    fake_image(tmp_path, name="two", firmware="uefi")

    *_, first, second = sorted(image("list", "--output", tmp_path).stdout.splitlines())
    assert first.split()[-1] == "bios"
    assert second.split()[-1] == "uefi"


def test_images_that_nobody_touched_pass(tmp_path: Path) -> None:
    fake_image(tmp_path, name="one")
    fake_image(tmp_path, name="two")

    result = image("verify", "--output", tmp_path)

    assert result.exit_code == 0
    assert result.stdout.count("is what was built") == 2


def test_an_image_that_was_changed_does_not_pass(tmp_path: Path) -> None:
    fake_image(tmp_path).path("kernel").write_bytes(b"evil")

    result = image("verify", "debian-12", "--output", tmp_path)

    assert result.exit_code == 1
    assert "kernel is not what was built" in result.stderr


def test_there_must_be_something_to_verify(tmp_path: Path) -> None:
    result = image("verify", "debian-12", "--output", tmp_path)

    assert result.exit_code == 1
    assert "no such image" in result.stderr


def test_an_image_must_be_built_before_it_is_published(tmp_path: Path) -> None:
    result = image(
        *("publish", "debian-12", "--output", tmp_path, "--uri", "test:///default"),
        *("--pool", "default-pool"),
    )

    assert result.exit_code == 1
    assert "image build debian-12" in result.stderr


@pytest.mark.parametrize("option", ["--uri", "--pool"])
@pytest.mark.parametrize("what", ["list", "verify"])
def test_half_a_storage_pool_is_wrong_usage(what: str, option: str) -> None:
    result = image(what, option, "x")

    assert result.exit_code == 2
    assert "belong together" in result.stderr


def test_a_storage_pool_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = image("list", "--uri", "test:///default", "--pool", "images")

    assert result.exit_code == 1
    assert "no storage pool 'images'" in result.stderr


def test_a_host_that_does_not_answer_is_named(tmp_path: Path) -> None:
    uri = f"qemu+unix:///session?socket={tmp_path}/none"

    result = image("list", "--uri", uri, "--pool", "images")

    assert result.exit_code == 1
    assert f"libvirt at {uri} refused" in result.stderr
    assert "Traceback" not in result.output


# Imports: what is refused before anything is booted.


def disk(directory: Path) -> Path:
    """Make a raw disk that an import would take."""
    path = directory / "disk.raw"
    path.write_bytes((b"\xeb".ljust(510, b"\x90") + b"\x55\xaa").ljust(2**20, b"\0"))
    return path


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--name", "Cloud"), "lower-case letters"),
        (("--name", "../cloud"), "lower-case letters"),
        (("--name", "cloud", "--disk", "20"), "--disk"),
        (("--name", "cloud", "--disk", "100000TiB"), "--disk"),
        (("--name", "cloud", "--memory", "0GiB"), "less than 256MiB"),
        (("--name", "cloud", "--timeout", "never"), "--timeout"),
        (("--name", "cloud", "--timeout", "0s"), "less than 1s"),
        (("--name", "cloud", "--timeout", "31d"), "more than 30d"),
        (("--name", "cloud", "--timeout", "9999999h"), "more than 30d"),
        (("--name", "cloud", "--memory", "65TiB"), "more than 64TiB"),
        (("--name", "cloud", "--accelerator", "hvf"), "--accelerator"),
        (("--name", "cloud", "--run", "no-such-file"), "--run"),
        ((), "--name"),
    ],
)
def test_wrong_options_of_an_import_are_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    result = image("import", disk(tmp_path), "--output", tmp_path / "out", *arguments)

    assert result.exit_code == 2
    assert why in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name the FILE of a disk, or an image by --from"),
        (("disk.raw", "--from", "debian-12"), "name the FILE of a disk, or an image by --from"),
        (("--from", "debian-12", "--packages", "gcc,--evil"), "is no name of a package"),
        (("disk.raw", "--packages", "gcc-"), "is no name of a package"),
        (("disk.raw", "--packages", "gcc", "--allow", "192.0.2.1:80"), "IP address"),
        (("disk.raw", "--packages", "gcc", "--allow", "mirror.example.org"), "--allow"),
        (("disk.raw", "--allow", "mirror.example.org:80"), "--allow is for --packages"),
        (
            ("--from", "debian-12", "--packages", "gcc", "--allow", "mirror.example.org:80"),
            "without --allow",
        ),
    ],
)
def test_an_import_is_of_a_file_or_of_an_image(
    tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    result = image("import", *arguments, "--name", "mine", "--output", tmp_path / "out")

    assert result.exit_code == 2
    assert why in result.stderr


def test_packages_of_a_recipe_are_debian_packages(tmp_path: Path) -> None:
    where = ("--name", "mine", "--output", tmp_path / "out")
    result = image("import", "--from", "debian-12", *where, "--packages", "python3-PyYAML")

    assert result.exit_code == 1
    assert "'python3-PyYAML' is no name of a Debian package" in result.stderr


def test_a_base_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    fake_image(tmp_path / "out", name="cloud")
    where = ("--name", "mine", "--output", tmp_path / "out")
    result = image("import", "--from", "clowd", *where)

    assert result.exit_code == 1
    assert "there is no image clowd to derive from" in result.stderr
    assert "cloud, debian-12" in result.stderr
    assert "Did you mean 'cloud'?" in result.stderr


def test_a_base_for_another_machine_is_refused(tmp_path: Path) -> None:
    base = fake_image(tmp_path / "out", name="arm")
    describe(base.directory, base.description.model_copy(update={"architecture": "aarch64"}))
    result = image("import", "--from", "arm", "--name", "mine", "--output", tmp_path / "out")

    assert result.exit_code == 1
    assert "image 'arm' is for aarch64" in result.stderr


def test_a_base_that_is_not_what_was_built_is_refused(tmp_path: Path) -> None:
    base = fake_image(tmp_path / "out", name="cloud")
    base.path("disk").write_bytes(b"something else")
    where = ("--name", "mine", "--output", tmp_path / "out")
    result = image("import", "--from", "cloud", *where)

    assert result.exit_code == 1
    assert "is not what was built" in result.stderr
    assert not (tmp_path / "out/mine").exists()


PUBLISH = ("--uri", "test:///default", "--pool", "default-pool")


@pytest.mark.parametrize(("name", "why"), [("debian-12", "a recipe"), ("taken", "already")])
@pytest.mark.parametrize(("verb", "where"), [("import", ()), ("publish", PUBLISH)])
def test_a_new_image_takes_no_name_that_is_in_use(
    tmp_path: Path, name: str, why: str, verb: str, where: tuple[str, ...]
) -> None:
    output = tmp_path / "out"
    fake_image(output, name="taken")
    result = image(verb, disk(tmp_path), "--name", name, "--output", output, *where)

    assert result.exit_code == 1
    assert why in result.stderr
    assert "Choose another --name" in result.stderr


@pytest.mark.parametrize(("verb", "where"), [("import", ()), ("publish", PUBLISH)])
def test_what_is_no_disk_becomes_no_image(
    tmp_path: Path, verb: str, where: tuple[str, ...]
) -> None:
    result = image(verb, tmp_path, "--name", "mine", "--output", tmp_path / "out", *where)

    assert result.exit_code == 1
    assert "is a directory" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_disk_is_published_under_a_name_only(tmp_path: Path) -> None:
    result = image("publish", disk(tmp_path), "--output", tmp_path / "out", *PUBLISH)

    assert result.exit_code == 1
    assert "disk.raw is a disk without a name" in result.stderr
    assert "--name NAME" in result.stderr


@pytest.mark.parametrize("given", ["no/such/thing", "Debian 12"])
def test_what_is_no_image_is_not_published(tmp_path: Path, given: str) -> None:
    result = image("publish", given, "--output", tmp_path / "out", *PUBLISH)

    assert result.exit_code == 1
    assert f"{given} is not there" in result.stderr


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_program_that_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "fifo" if kind == "fifo" else Path("/dev/zero")
    if kind == "fifo":
        os.mkfifo(script)
    result = image("import", tmp_path, "--name", "mine", "--output", tmp_path, "--run", script)

    assert result.exit_code == 2
    assert f"{script} is no regular file" in " ".join(result.stderr.split())


def test_a_directory_whose_name_libvirt_cannot_say_is_refused(tmp_path: Path) -> None:
    result = image("import", tmp_path, "--name", "mine", "--output", tmp_path / "n\udce9")

    assert result.exit_code == 2
    assert "Choose one of printable characters" in " ".join(result.stderr.split())


def test_the_firmware_of_a_base_cannot_be_chosen(tmp_path: Path) -> None:
    arguments = ("--from", "debian-12", "--name", "mine", "--output", tmp_path)
    result = image("import", *arguments, "--firmware", "uefi")

    assert result.exit_code == 2
    assert "--firmware is for a FILE" in result.stderr


@pytest.mark.parametrize("digits", ["", "1", "abcde", "ABCDEF", "abcdeg", "a" * 65, "é" * 6])
def test_what_is_no_beginning_of_a_digest_names_no_version(digits: str) -> None:
    where = ("--uri", "nowhere:///", "--pool", "builds")
    for words in (("delete", "debian-12", digits), ("rollback", "debian-12", "--to", digits)):
        result = image(*words, *where)

        assert result.exit_code == 2
        assert "6 to 64 hexadecimal digits" in " ".join(result.stderr.split())


@pytest.mark.parametrize("option", ["--uri", "--pool"])
def test_an_empty_place_is_no_default_one(option: str) -> None:
    where = {"--uri": "test:///default", "--pool": "default-pool", option: ""}

    result = image("list", *(word for pair in where.items() for word in pair))

    assert result.exit_code == 2
    assert "is empty" in result.stderr


def test_an_empty_name_is_not_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = fake_image(tmp_path)
    monkeypatch.chdir(there.directory)

    result = image("publish", "", "--output", tmp_path, "--uri", "nowhere:///", "--pool", "builds")

    assert result.exit_code == 1
    assert "is no image that was built here" in " ".join(result.stderr.split())


def test_a_list_in_a_pipe_has_whole_names_and_digests(tmp_path: Path) -> None:
    names = ["a" * 40, "b" * 40]
    images = [fake_image(tmp_path, name=name, firmware="uefi") for name in names]

    _title, *rows = image("list", "--output", tmp_path).stdout.splitlines()

    assert {tuple(row.split()[:2]) for row in rows} == {
        (each.description.name, each.description.short_digest) for each in images
    }


def test_images_are_listed_for_programs_with_those_that_are_damaged(tmp_path: Path) -> None:
    sound = fake_image(tmp_path, name="sound", firmware="uefi")
    damaged = fake_image(tmp_path, name="damaged")
    (damaged.directory / "image.json").write_text("{}")

    found = json.loads(image("list", "--output", tmp_path, "--json").stdout)
    text = image("list", "--output", tmp_path)

    (only,) = found["images"]
    assert (only["name"], only["digest"]) == ("sound", sound.description.digest)
    assert (only["firmware"], only["architecture"], only["signed"]) == ("uefi", "x86_64", False)
    assert only["size"] == sound.description.parts.size
    (why,) = found["damaged"]
    assert f"Delete {damaged.directory}" in why
    assert why in text.stderr
    assert "sound" in text.stdout


@pytest.mark.parametrize("verb", ["publish", "sign"])
def test_a_name_of_no_image_and_no_recipe_is_refused_with_those_that_there_are(
    tmp_path: Path, verb: str
) -> None:
    fake_image(tmp_path, name="mine")
    key = tmp_path / "key"
    key.touch()
    more = ["--key", key] if verb == "sign" else ["--uri", "nowhere:///", "--pool", "builds"]

    result = image(verb, "nope", "--output", tmp_path, *more)

    text = " ".join(result.stderr.split())
    assert result.exit_code == 1
    assert "Images there: mine." in text
    assert "debian-12" in text
    assert "image build nope" not in text


@pytest.mark.parametrize("packages", [",,,", "", " , "])
def test_packages_without_a_name_are_refused(tmp_path: Path, packages: str) -> None:
    result = image(
        "import", "--from", "debian-12", "--name", "mine", "--packages", packages,
        "--output", tmp_path,
    )  # fmt: skip

    assert result.exit_code == 2
    assert "names no package" in result.stderr


def test_an_empty_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "setup").touch()

    result = image(
        "import", "--from", "debian-12", "--name", "mine", "--run", tmp_path / "setup",
        "--output", tmp_path,
    )  # fmt: skip

    assert result.exit_code == 2
    assert "is empty" in result.stderr


def test_a_disk_of_nothing_is_refused_with_a_size_that_can_be(tmp_path: Path) -> None:
    result = image("import", "--from", "debian-12", "--name", "mine", "--disk", "0")

    assert result.exit_code == 2
    assert "512MiB" in result.stderr
    assert "0MiB" not in result.stderr.replace("512MiB", "")
