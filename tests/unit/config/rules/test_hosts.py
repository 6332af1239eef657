# SPDX-License-Identifier: GPL-2.0-only
"""Hosts of one URI, and labels that need CPUs of their hosts which these do not have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.config import InvalidConfiguration, load

ALPHA = "slots: 4"
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
    with pytest.raises(InvalidConfiguration, match="leads to the same libvirt as host 'one'"):
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


@pytest.mark.parametrize(
    ("sets", "problems"),
    [
        (
            "[]",
            ["host 'alpha' has 0 sets in `pinned_cpus` for 4 slots; give the host"],
        ),
        ("['0-1', '2-3', '4-5']", ["host 'alpha' has 3 sets in `pinned_cpus` for 4 slots"]),
        ("['0-1', '2-3', '4-5', '6']", ["host 'alpha' has the set '6' for a VM with 2 vCPUs"]),
        ("['0-1', '2-3', '4-5', '6-7']", []),
    ],
)
def test_a_pinned_label_needs_as_many_cpus_in_each_slot_of_its_hosts(
    sets: str, problems: list[str], good: str, problems_of: Callable[[str], list[str]]
) -> None:
    text = good.replace(ALPHA, f"{ALPHA}\n    pinned_cpus: {sets}")
    label = "vcpus: 2\n    hosts: [alpha]\n    cpu_pinning: true"

    found = problems_of(text.replace("memory: 1GiB", label))

    assert len(found) == len(problems)
    for problem, expected in zip(found, problems, strict=True):
        assert f"labels.debian-12.cpu_pinning: {expected}" in problem
