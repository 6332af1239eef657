# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be done is refused before a master or a libvirt is asked."""

from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from latent_libvirt.cli import main


def refusal(*arguments: str) -> str:
    """Return why a command line is refused."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with tarfile.open(file := tmp_path / "vm.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("kernel"))
    return file


@pytest.mark.parametrize("option", [("--for", "1h"), ("--host", "alpha"), ("--cancel",)])
def test_a_file_has_nothing_that_only_frozen_vms_of_a_pool_have(
    file: Path, option: tuple[str, ...]
) -> None:
    uri = ("--uri", "test:///default")

    assert f"{option[0]} is for frozen VMs of a pool" in refusal("thaw", str(file), *uri, *option)


def test_a_vm_of_a_pool_has_no_base_image_to_name(file: Path) -> None:
    assert "--base is for files of exports" in refusal("thaw", "vm", "--base", str(file))


def test_a_file_that_is_named_without_a_uri_is_no_vm(file: Path) -> None:
    said = refusal("thaw", str(file))

    assert "vm.tar is a file" in said
    assert f"latent-libvirt thaw {file} --uri qemu:///session" in said


@pytest.mark.parametrize(
    "content", [lzma.compress(b"vm"), bytes(1 << 20), b"QFI\xfb", b"some text", b""]
)
def test_a_file_that_is_no_export_is_said_to_be_none_at_once(
    tmp_path: Path, content: bytes
) -> None:
    (file := tmp_path / "disk.img").write_bytes(content)

    assert "disk.img is a file, and none that 'latent-libvirt export' has written" in refusal(
        "thaw", str(file), "--socket", str(tmp_path / "socket")
    )
    with_uri = CliRunner().invoke(main, ["thaw", str(file), "--uri", "test:///default"]).output
    assert f"{file} is no export of a VM" in with_uri
    assert "Name a file that 'latent-libvirt export' has written." in with_uri


def test_a_file_that_is_no_archive_may_have_the_name_of_a_vm(tmp_path: Path) -> None:
    (tmp_path / "vm").write_text("mine")

    result = CliRunner().invoke(
        main, ["thaw", str(tmp_path / "vm"), "--socket", str(tmp_path / "socket")]
    )

    assert "no master answers" in result.output


@pytest.mark.parametrize("option", [("--for", "1h"), ("--host", "alpha")])
def test_a_thaw_is_cancelled_as_a_whole(option: tuple[str, ...]) -> None:
    assert f"{option[0]} has no meaning with --cancel" in refusal("thaw", "vm", "--cancel", *option)


@pytest.mark.parametrize(
    ("since", "until"), [("1h", "2h"), ("2026-11-02", "2026-11-01"), ("2026-11-01", "2026-11-01")]
)
def test_a_span_that_has_no_moment_is_refused(since: str, until: str) -> None:
    said = refusal("usage", "--since", since, "--until", until)

    assert "no build began after --since" in said
    assert "counts back from now" in said


def test_a_time_that_is_too_short_or_too_long_is_named_in_one_sentence() -> None:
    assert "it has to be over 0s, and up to 30d" in refusal("hold", "vm", "--for", "0s")
    assert "it has to be over 0s, and up to 30d" in refusal("hold", "vm", "--for", "31d")
    assert "use d, h, m and s" in refusal("hold", "vm", "--for", "2weeks")


def test_usage_since_a_moment_that_has_not_come_is_refused_with_the_time_that_it_is() -> None:
    said = refusal("usage", "--since", "2999-01-01T00:00:00+00:00")

    assert "no build has begun yet after --since, 2999-01-01 0" in said
    assert ": it is 20" in said


@pytest.mark.parametrize("since", ["3d", "1d12h", "90m"])
def test_usage_takes_the_durations_of_the_configuration(since: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["usage", "--since", since, "--socket", str(tmp_path)])

    assert "no master with a pool runs" in result.output
