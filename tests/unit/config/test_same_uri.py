# SPDX-License-Identifier: GPL-2.0-only
"""Two URIs of one hypervisor are refused, as far as their text tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config import InvalidConfiguration, load

FILE = """
master: {{max_vms: 2}}
hosts:
  one: {{uri: "{one}", slots: 1, storage_pool: builds}}
  two: {{uri: "{two}", slots: 1, storage_pool: builds}}
labels:
  debian-12: {{image: debian-12}}
"""


def load_with(directory: Path, one: str, two: str) -> None:
    """Load a file with these two URIs."""
    path = directory / "pool.yaml"
    path.write_text(FILE.format(one=one, two=two))
    load(path)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("qemu:///system", "qemu+unix:///system"),
        ("qemu:///system", "qemu:///system?"),
        ("qemu+ssh://b@beta/system", "qemu+ssh://b@BETA/system"),
        ("qemu+unix:///system?socket=/a&mode=direct", "qemu:///system?mode=direct&socket=/a"),
    ],
)
def test_spellings_of_one_uri_are_refused(tmp_path: Path, one: str, two: str) -> None:
    with pytest.raises(InvalidConfiguration, match="the same hypervisor as host 'one'"):
        load_with(tmp_path, one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("qemu:///system", "qemu:///session"),
        ("qemu:///system", "qemu+ssh://localhost/system"),
        ("qemu+unix:///system?socket=/a", "qemu+unix:///system?socket=/b"),
        ("qemu+ssh://beta:2201/system", "qemu+ssh://beta:2202/system"),
    ],
)
def test_what_may_be_two_hypervisors_is_accepted(tmp_path: Path, one: str, two: str) -> None:
    load_with(tmp_path, one, two)
