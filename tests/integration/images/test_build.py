# SPDX-License-Identifier: GPL-2.0-only
"""Building for real: equal packages give an equal image."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from latent_libvirt.images import manifest, recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import MANIFEST, LocalImage
from latent_libvirt.images.progress import Reporter


@pytest.fixture
def output(cache: Path, tmp_path: Path) -> Path:
    """Give a directory without images, but with the packages that the cache has."""
    output = tmp_path / "images"
    shutil.copytree(cache / "images/debian-12/cache", output / "debian-12/cache")
    return output


def left(output: Path) -> set[str]:
    return {path.name for path in (output / "debian-12").iterdir()} - {"cache", "lock"}


def test_equal_packages_give_an_equal_image(image: LocalImage, output: Path) -> None:
    recipe = recipes.load("debian-12")
    first, again = image, build(recipe, output)
    if manifest.read(again.directory / MANIFEST) != manifest.read(image.directory / MANIFEST):
        # Debian has published something since the cached one was built.
        first, again = again, build(recipe, output, rebuild=True)

    assert again.description.parts == first.description.parts
    assert again.description.digest == first.description.digest
    assert left(output) == {again.description.short_digest}
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
