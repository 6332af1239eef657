# SPDX-License-Identifier: GPL-2.0-only
"""Images are derived from local images, with packages that the guest's own tool installs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imports import leftovers, processes, run
from latent_libvirt.images import manifest
from latent_libvirt.images.local import MANIFEST, LocalImage, newest


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Give a program that fails unless the packages are there, and that it runs as root."""
    program = tmp_path / "customise"
    program.write_text("#!/bin/sh\nset -eu\nmake --version\n[ $(id -u) = 0 ]\n")
    return program


def derive(base: str | Path, name: str, output: Path, *more: str | Path) -> LocalImage:
    status, out, err = run("--from", base, "--name", name, "--output", output, *more)

    assert (status, err) == (0, ""), out + err
    image = newest(output, name)
    assert processes(output) == []
    return image


def test_derivations_of_derivations_have_packages_a_kernel_and_their_lineage(
    image: LocalImage, tmp_path: Path, script: Path
) -> None:
    output = tmp_path / "out"
    first = derive(image.directory, "first", output, "--packages", "make", "--run", script)
    second = derive("first", "second", output, "--run", script)

    described, base = second.description, image.description
    assert described.launcher == base.launcher
    assert described.parts.kernel == base.parts.kernel
    assert described.command_line == base.command_line
    found = manifest.read(second.directory / MANIFEST)
    before = manifest.read(image.directory / MANIFEST)
    assert found["base 1"] == f"first {first.description.digest}"
    assert found["base 2"] == f"debian-12 {base.digest}"
    assert found.items() >= before.items()
    assert {name for name in found.keys() - before.keys() if name.startswith("deb ")} == {
        "deb make"
    }
    fetched = manifest.read(first.directory / MANIFEST)
    assert any(name.startswith("fetched http") and "/make_" in name for name in fetched)

    status, out, err = run(
        *("--from", image.directory, "--name", "first", "--output", output),
        *("--packages", "make", "--run", script),
    )
    assert (status, err) == (0, "")  # that very image is there, so nothing is booted
    assert "booting" not in out


def test_packages_that_there_are_not_leave_nothing(image: LocalImage, tmp_path: Path) -> None:
    output = tmp_path / "out"
    status, _out, err = run(
        *("--from", image.directory, "--name", "mine", "--output", output),
        *("--packages", "no-such-package"),
    )

    assert status == 1
    assert "apt-get install ended with status 100" in err
    assert "Unable to locate package no-such-package" in err
    assert leftovers(output) == set()
    assert processes(output) == []
