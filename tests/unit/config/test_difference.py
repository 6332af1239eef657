# SPDX-License-Identifier: GPL-2.0-only
"""What a log says of a changed configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import PoolConfig, load
from latent_libvirt.config.difference import differences

POOL = """
master: {max_vms: 4}
hosts:
  alpha: {uri: "qemu+ssh://alpha/system", slots: 4, storage_pool: builds}
labels:
  small: {image: debian-12}
"""


def config(directory: Path, text: str = POOL) -> PoolConfig:
    path = directory / "pool.yaml"
    path.write_text(text)
    return load(path)


CHANGES = {
    "a cap": ("max_vms: 4", "max_vms: 6", ("master: max_vms 4 → 6", "label small: max_vms 4 → 6")),
    "slots": ("slots: 4", "slots: 0", ("host alpha: slots 4 → 0",)),
    "a size": (
        "{image: debian-12}",
        "{image: debian-12, memory: 2GiB}",
        ("label small: memory 512MiB → 2GiB",),
    ),
    "bounds of a size": (
        "{image: debian-12}",
        "{image: debian-12, vcpus: {min: 1, max: 8, default: 1}}",
        ("label small: vcpus 1 → min 1, max 8, default 1",),
    ),
    "wider bounds of a size": (
        "{image: debian-12}",
        "{image: debian-12, vcpus: {min: 1, max: 16, default: 1}}",
        ("label small: vcpus 1 → min 1, max 16, default 1",),
    ),
    "bounds of memory": (
        "{image: debian-12}",
        "{image: debian-12, memory: {min: 512MiB, max: 2GiB, default: 1GiB}}",
        ("label small: memory 512MiB → min 512MiB, max 2GiB, default 1GiB",),
    ),
    "a time": (
        "{image: debian-12}",
        "{image: debian-12, boot_timeout: 5m}",
        ("label small: boot_timeout 3m → 5m",),
    ),
    "a drain": (
        "{image: debian-12}",
        "{image: debian-12, drain: true}",
        ("label small: drain false → true",),
    ),
    "a budget": ("slots: 4", "slots: 4, memory: 8GiB", ("host alpha: memory (default) → 8GiB",)),
    "an overcommit": (
        "slots: 4",
        "slots: 4, vcpu_overcommit: 1.5",
        ("host alpha: vcpu_overcommit 1.0 → 1.5",),
    ),
    "a placement": (
        "max_vms: 4",
        "max_vms: 4, placement: pack",
        ("master: placement spread → pack",),
    ),
    "a list": (
        "{image: debian-12}",
        "{image: debian-12, hosts: [alpha]}",
        ("label small: hosts (default) → alpha",),
    ),
    "a network": (
        "{image: debian-12}",
        "{image: debian-12, network: {bridge: br0}}",
        ("label small: network user → bridge br0",),
    ),
    "another label": ("labels:", "labels:\n  large: {image: debian-12}", ("label large added",)),
    "a renamed label": ("  small:", "  tiny:", ("label small removed", "label tiny added")),
    "a pinned image": (
        "labels:",
        "images: {debian-12: {digest: 0123456789ab}}\nlabels:",
        ("image debian-12 added",),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_told_in_the_words_of_the_file(tmp_path: Path, change: str) -> None:
    old, new, expected = CHANGES[change]

    assert differences(config(tmp_path), config(tmp_path, POOL.replace(old, new))) == expected


@given(st.sampled_from(sorted(CHANGES)), st.sampled_from(sorted(CHANGES)))
def test_there_is_a_difference_exactly_where_configurations_differ(
    tmp_path_factory: pytest.TempPathFactory, one: str, other: str
) -> None:
    directory = tmp_path_factory.mktemp("pool")
    first, second = (
        config(directory, POOL.replace(*CHANGES[change][:2])) for change in (one, other)
    )

    assert bool(differences(first, second)) == (first != second)
