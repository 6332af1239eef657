# SPDX-License-Identifier: GPL-2.0-only
"""A version that a rollback chooses is published at each moment, also if its host fails then.

libvirt is a fake with descriptions in memory; real ones are in tests/integration/host.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_images import fake_image
from latent_libvirt.host.volumes import description_volume, images, storage, upload_lock
from latent_libvirt.host.volumes.images import Known, PublishedImage
from latent_libvirt.images.description import Description


class CutOffError(Exception):
    """The host has failed."""


class Pool:
    """A storage pool with descriptions, by the names of their volumes.

    :ivar calls_left: after which it fails.
    """

    def __init__(self, *images: PublishedImage) -> None:
        self.there = {image.json: image.description for image in images}
        self.calls_left = 2

    def _call(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise CutOffError

    def delete(self, _pool: object, name: str) -> None:
        self._call()
        del self.there[name]

    def upload(self, _pool: object, new: Any, pieces: Iterable[bytes]) -> None:
        self._call()
        (text,) = pieces
        self.there[new.name] = Description.from_json(text, source=new.name)

    def published(self) -> tuple[PublishedImage, ...]:
        """Return what VMs can take, as they look for it."""
        volumes: Any = {
            name: SimpleNamespace(key=lambda name=name: name, said=said)
            for name, said in self.there.items()
        }
        return images._published_among(volumes, "debian-12", Known())


@pytest.fixture
def image(tmp_path: Path) -> PublishedImage:
    return PublishedImage.of(fake_image(tmp_path).description)


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_version_is_there_wherever_a_rollback_to_it_is_cut_off(
    image: PublishedImage, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(image)
    pool.calls_left = calls
    monkeypatch.setattr(storage, "delete_volume", pool.delete)
    monkeypatch.setattr(description_volume, "upload", pool.upload)
    monkeypatch.setattr(images, "_read_description", lambda volume, _name: volume.said)
    lock = SimpleNamespace(release=lambda: None)
    monkeypatch.setattr(upload_lock, "take", lambda *_, **_named: lock)
    chosen = image.description.model_copy(update={"chosen": datetime(2026, 6, 1, tzinfo=UTC)})

    try:
        description_volume.replace(pool, image, chosen)
        was_cut_off = False
    except CutOffError:
        was_cut_off = True

    (found,) = pool.published()
    assert found.digest == image.digest
    assert (found.description.chosen is not None) == (calls > 0)
    assert was_cut_off == (calls < 2)
