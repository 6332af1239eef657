# SPDX-License-Identifier: GPL-2.0-only
"""Caps say what a configuration allows, and what a host has left of it."""

from __future__ import annotations

import math

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.pool.room.amounts import Left, Size
from latent_libvirt.pool.room.caps import Budget, Caps, LabelCap
from latent_libvirt.status.names import Target


def test_the_caps_are_those_of_the_configuration() -> None:
    config = PoolConfig.model_validate(
        {
            "master": {"max_vms": 7, "placement": "pack"},
            "hosts": {
                "one": {
                    "uri": "qemu:///system",
                    "storage_pool": "builds",
                    "slots": 4,
                    "max_starting": 2,
                    "vcpus": 8,
                    "vcpu_overcommit": 1.5,
                    "memory": "8GiB",
                },
                "two": {
                    "uri": "qemu:///session",
                    "storage_pool": "builds",
                    "slots": 5,
                    "drain": True,
                },
            },
            "labels": {
                "small": {"image": "debian-12", "max_vms": 3, "vcpus": 2, "memory": "1GiB"},
                "large": {"image": "debian-12", "hosts": ["one"], "drain": True},
            },
        }
    )

    caps = Caps.of(config)

    large = config.labels["large"]
    assert caps == Caps(
        max_vms=7,
        slots={"one": 4, "two": 5},
        labels={
            "small": LabelCap(3, ("one", "two"), Size(2, 2**30)),
            "large": LabelCap(7, ("one",), Size(large.vcpus, large.memory)),
        },
        starting={"one": 2},
        budgets={"one": Budget(12, 8 * 2**30), "two": Budget(math.inf, math.inf)},
        placement="pack",
        drained=frozenset({Target("host", "two"), Target("label", "large")}),
    )


@pytest.mark.parametrize(
    ("size", "fits"),
    [(Size(8, 4), True), (Size(0, 0), True), (Size(9, 4), False), (Size(8, 5), False)],
)
def test_whether_a_host_could_ever_give_a_size_depends_on_its_budget(
    size: Size, *, fits: bool
) -> None:
    caps = Caps(9, {"one": 2, "two": 2}, {}, budgets={"one": Budget(8, 4)})

    assert caps.may_give("one", size) == fits
    assert caps.may_give("two", size), "a host without a budget gives any"


def test_a_host_has_left_what_it_has_not_given() -> None:
    caps = Caps(9, {"one": 2}, {}, budgets={"one": Budget(8, 4)})

    assert caps.left("one", Size(3, 5), 2) == Left(2, 5, -1)
    assert caps.left("other", Size(3, 5), 1) == Left(1, math.inf, math.inf)


def test_the_usual_size_is_that_of_the_label() -> None:
    caps = Caps(9, {"one": 2}, {"small": LabelCap(9, ("one",), Size(1, 2))})

    assert caps.is_usual("small", None)
    assert caps.is_usual("small", Size(1, 2))
    assert not caps.is_usual("small", Size(2, 2))
    assert not caps.is_usual("unknown", Size(1, 2))


def test_the_slots_for_devices_are_those_of_the_label_with_the_most() -> None:
    labels = {
        "none": LabelCap(9, ("one",)),
        "many": LabelCap(9, ("one", "two"), last_slots={"one": 3, "two": 0}),
        "few": LabelCap(9, ("one",), last_slots={"one": 1}),
    }

    assert Caps(9, {"one": 4, "two": 4}, labels).slots_for_devices == {"one": 3, "two": 0}
