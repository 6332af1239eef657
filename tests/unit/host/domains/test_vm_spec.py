# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is made of, and what tells one from another."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import pytest

from latent_libvirt.config import ImageConfig, LabelConfig, PoolConfig
from latent_libvirt.config.section import HARDWARE
from latent_libvirt.host.domains.vm_spec import (
    Network,
    vm_spec,
)
from specs import a_spec

GIVEN: dict[str, Any] = {
    "master": {"max_vms": 1},
    "hosts": {"alpha": {"uri": "qemu:///system", "slots": 1, "storage_pool": "builds"}},
    "labels": {"small": {"image": "debian-12", "vcpus": 4, "memory": "8GiB"}},
}
CONFIG = PoolConfig.model_validate(GIVEN)


def config_with(**label: object) -> PoolConfig:
    given = {**GIVEN, "labels": {"small": {**GIVEN["labels"]["small"], **label}}}
    return PoolConfig.model_validate(given)


def test_a_vm_that_was_made_for_another_filter_is_none_of_the_labels_any_more() -> None:
    lan = {"network": {"network": "default"}}
    kinds = [config_with(**lan), *(config_with(**lan, filter=name) for name in ("none", "mine"))]

    assert len({vm_spec(config, "small").hash for config in kinds}) == len(kinds)
    assert vm_spec(kinds[2], "small").network == Network("network", "default", "mine")


def test_a_label_with_another_address_is_served_by_the_same_vms() -> None:
    assert vm_spec(config_with(address="192.0.2.1"), "small").hash == vm_spec(CONFIG, "small").hash


@pytest.mark.parametrize(
    "label",
    [
        {"vcpus": 2},
        {"memory": "1GiB"},
        {"disk": "9GiB"},
        {"network": {"bridge": "b"}},
        {"connection": "tcp"},
        {"network": "none"},
    ],
    ids=str,
)
def test_another_machine_has_another_hash(label: dict[str, Any]) -> None:
    assert a_spec(**label).hash != a_spec().hash


def test_another_image_makes_another_vm() -> None:
    assert replace(a_spec(), image=ImageConfig(volume="v")).hash != a_spec().hash


class Newer(LabelConfig):
    """Labels with a key that the guest sees, and one that it does not."""

    nested: Annotated[bool | None, HARDWARE] = None
    note: str = ""


def test_a_new_key_counts_as_soon_as_it_is_marked_and_used() -> None:
    def hash_of(**keys: object) -> str:
        label = Newer.model_validate({**a_spec().label.model_dump(mode="json"), **keys})
        return replace(a_spec(), label=label).hash

    assert hash_of() == hash_of(note="another") == a_spec().hash
    assert hash_of(nested=True) != hash_of()


def test_saved_states_from_before_there_were_channels_are_good_still() -> None:
    assert a_spec(connection="tcp").hash == "6e7831e67008ba6a"
