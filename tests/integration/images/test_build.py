# SPDX-License-Identifier: GPL-2.0-only
"""Building for real: equal packages give an equal image."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmaster import DEADLINE
from commands import COMMAND
from image_differences import differences
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import LocalImage
from latent_libvirt.images.progress import Reporter
from latent_libvirt.process import interrupts


@pytest.fixture
def output(cache: Path, tmp_path: Path) -> Path:
    """Give a directory without images, but with the packages that the cache has."""
    output = tmp_path / "images"
    shutil.copytree(cache / "images/debian-12/cache", output / "debian-12/cache")
    return output


def left(output: Path) -> set[str]:
    return {path.name for path in (output / "debian-12").iterdir()} - {"cache", "lock"}


def published(packages: Path) -> dict[str, bytes]:
    """Return what Debian has signed, by the file in the cache of packages."""
    return {file.name: file.read_bytes() for file in (packages / "apt/lists").glob("*_InRelease")}


@pytest.fixture
def _unlike_others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the builder have habits that must not show in what is built."""
    monkeypatch.setenv("TAR_OPTIONS", "--mode=go-r")
    monkeypatch.setenv("TZ", "Pacific/Apia")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/elsewhere")
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_unlike_others")
def test_equal_packages_give_an_equal_image(image: LocalImage, cache: Path, output: Path) -> None:
    recipe = recipes.load("debian-12")
    before, first = published(cache / "images/debian-12/cache"), image
    again = build(recipe, output)
    while (now := published(output / "debian-12/cache")) != before:
        # Debian has published something since the first one was built.
        before, first = now, again
        again = build(recipe, output, rebuild=True)

    assert again.description.parts == first.description.parts, differences(first, again)
    assert again.description.digest == first.description.digest
    assert again.description.short_digest in left(output)
    assert not list(output.glob("debian-12/draft-*"))
    again.verify()


class Interrupting(Reporter):
    """Presses Ctrl-C once mmdebstrap has looked at Debian's keys."""

    def stage(self, text: str) -> None:
        if text == "downloading packages with apt":
            raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing_in_the_temporary_directory(
    image: LocalImage, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not tmp_path: without root, mmdebstrap's users are others, and may not get there.
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", temporary)
        with pytest.raises(KeyboardInterrupt):
            build(recipes.load("debian-12"), output, reporter=Interrupting())
        assert list(Path(temporary).iterdir()) == []
    assert left(output) == set()


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_build_that_a_signal_ends_leaves_nothing(
    image: LocalImage, output: Path, number: signal.Signals
) -> None:
    # Not tmp_path: see above.
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        command = [COMMAND, "image", "build", "debian-12", "--output", output]
        with subprocess.Popen(
            list(map(str, command)),
            env=os.environ | {"TMPDIR": temporary},
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stdout is not None
            # By then, as root, it has mounted /proc and others.
            assert any("installing remaining packages" in line for line in program.stdout)
            program.send_signal(number)
            program.communicate(timeout=DEADLINE)
        assert program.returncode == 128 + number
        assert temporary not in Path("/proc/self/mounts").read_text()
        assert list(Path(temporary).iterdir()) == []
    assert left(output) == set()
