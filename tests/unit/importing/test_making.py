# SPDX-License-Identifier: GPL-2.0-only
"""Errors of images in the making that have a cause on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.programs import BuildError
from latent_libvirt.importing.making import naming_full_disk


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    why = "qemu-img: error while writing at byte 6: No space left on device"
    with pytest.raises(ConfigurationError) as caught, naming_full_disk(tmp_path):
        raise BuildError("qemu-img failed with status 1", details=why)

    assert str(tmp_path) in caught.value.brief
    assert caught.value.details == why
    assert "--output" in str(caught.value.resolution)


def test_another_failure_stays_what_it_is(tmp_path: Path) -> None:
    error = BuildError("qemu-img failed with status 1", details="it has no time")
    with pytest.raises(BuildError) as caught, naming_full_disk(tmp_path):
        raise error

    assert caught.value is error
