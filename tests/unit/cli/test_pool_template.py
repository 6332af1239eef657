# SPDX-License-Identifier: GPL-2.0-only
"""The first pool.yaml of a machine: always good, and never more than the machine has."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.cli.proposal.pool_template import (
    QEMU_OVERHEAD,
    SMALLEST_MEMORY,
    SPACE_PER_VM,
    Starter,
    for_host,
    host_name,
    scalar,
    sensible_size,
    without_host,
)
from latent_libvirt.config import PoolConfig, load
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.host.inventory import Inventory, StoragePool

RECIPES = ("debian-12",)

printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20
)
pool_names = printable.filter(lambda name: "/" not in name and name not in {".", ".."})
image_names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
pools = st.builds(
    StoragePool,
    name=pool_names,
    available=st.integers(0, 2**50),
    images=st.lists(image_names, unique=True, max_size=3).map(tuple),
)
inventories = st.builds(
    Inventory,
    uri=st.sampled_from(["qemu:///system", "qemu+ssh://user@host/system?keyfile=/a:b"]),
    hostname=st.text(max_size=60),
    cpus=st.integers(1, 1024),
    memory=st.integers(64 * MIB, 2**44),
    pools=st.lists(pools, max_size=3).map(tuple),
)


def written(starter: Starter) -> PoolConfig:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "pool.yaml"
        file.write_text(starter.yaml(schema="pool.schema.json", recipes=RECIPES), encoding="utf-8")
        return load(file)


@given(inventories)
def test_whatever_a_host_has_the_file_is_good_and_says_so(found: Inventory) -> None:
    starter = for_host(found, RECIPES)
    config = written(starter)

    (host,) = config.hosts.values()
    (label,) = config.labels.values()
    assert (host.uri, host.storage_pool) == (found.uri, starter.pool)
    assert (host.slots, label.vcpus, label.memory) == (
        starter.size.slots,
        starter.size.vcpus,
        starter.size.memory,
    )
    assert label.image == starter.image


@given(st.text(max_size=80), st.text(st.characters(codec="utf-8", exclude_categories=["C"])))
def test_without_libvirt_the_file_is_good_too_and_says_why_it_has_placeholders(
    hostname: str, silence: str
) -> None:
    starter = without_host(hostname=hostname, cpus=2, memory=4 * GIB, silence=silence or "x")
    text = starter.yaml(schema="pool.schema.json", recipes=RECIPES)
    assert "PLACEHOLDERS: no libvirt answered" in text
    written(starter)


@given(st.integers(1, 4096), st.integers(1, 2**45), st.none() | st.integers(0, 2**50))
def test_all_slots_together_fit_into_the_host(cpus: int, memory: int, space: int | None) -> None:
    size = sensible_size(cpus=cpus, memory=memory, space=space)
    assert size.slots >= 1
    assert size.memory >= SMALLEST_MEMORY
    if size.slots > 1:
        assert size.slots * size.vcpus <= cpus
        assert size.slots * (size.memory + QEMU_OVERHEAD) < memory
        assert space is None or size.slots * SPACE_PER_VM <= space


def test_sizes_are_what_people_would_choose() -> None:
    assert str(sensible_size(cpus=2, memory=24 * GIB)) == (
        f"Size(slots=2, vcpus=1, memory={4 * GIB})"
    )
    assert str(sensible_size(cpus=16, memory=64 * GIB)) == (
        f"Size(slots=8, vcpus=2, memory={4 * GIB})"
    )
    assert str(sensible_size(cpus=8, memory=4 * GIB)) == (
        f"Size(slots=4, vcpus=2, memory={512 * MIB})"
    )


def inventory(*pools: StoragePool) -> Inventory:
    return Inventory("qemu:///system", "alpha.example.org", 4, 16 * GIB, pools)


def test_the_storage_pool_with_images_is_taken_and_nothing_has_to_be_published() -> None:
    large, ready = StoragePool("large", 900 * GIB, ()), StoragePool("ready", GIB, ("debian-12",))
    starter = for_host(inventory(large, ready), RECIPES)
    assert (starter.host, starter.pool, starter.published) == ("alpha", "ready", True)
    assert "image publish" not in starter.next_steps("pool.yaml")


def test_an_empty_storage_pool_is_taken_and_the_image_has_to_be_published() -> None:
    small, large = StoragePool("small", GIB, ()), StoragePool("large", 9 * GIB, ())
    steps = for_host(inventory(small, large), RECIPES).next_steps("pool.yaml")
    publish = "latent-libvirt image publish debian-12 --uri qemu:///system --pool large\n"
    assert publish in steps
    assert steps.index("image build debian-12") < steps.index(publish)


def test_without_a_storage_pool_the_next_steps_make_one() -> None:
    starter = for_host(inventory(), RECIPES)
    assert not starter.has_pool
    steps = starter.next_steps("pool.yaml")
    assert "virsh -c qemu:///system pool-define-as builds dir --target DIRECTORY\n" in steps
    assert "PLACEHOLDER: the host had no storage pool" in starter.yaml(schema="s", recipes=RECIPES)


def test_an_image_of_ones_own_gets_the_entry_that_it_needs() -> None:
    starter = for_host(inventory(StoragePool("builds", GIB, ("fedora",))), RECIPES)
    config = written(starter)
    assert config.image_for(config.labels["fedora"]).name == "fedora"


def test_names_that_yaml_reads_as_something_else_are_quoted() -> None:
    assert [scalar(text) for text in ("builds", "null", "7", "a: b", "qemu:///system")] == [
        "builds",
        '"null"',
        '"7"',
        '"a: b"',
        "qemu:///system",
    ]


def test_a_machine_without_a_usable_name_is_called_here() -> None:
    assert [host_name(name) for name in ("Alpha.example.org", "a_b", "_", "")] == [
        "alpha",
        "a-b",
        "here",
        "here",
    ]
