# SPDX-License-Identifier: GPL-2.0-only
"""Why a label has no room: the first cap, or what each of its hosts lacks, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import GIB
from latent_libvirt.pool.reasons import NoRoom, RoomFacts
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Caps
from latent_libvirt.status.names import Target
from paper_pool import config_of

DEVICE = {"name": "gpu", "addresses": ["0000:01:00.0"]}


def with_keys(hosts: Mapping[str, Any], **labels: Any) -> PoolConfig:
    """Return a configuration of alpha and beta, with these keys of hosts and labels."""
    plain = config_of(one={}).model_dump(mode="json", exclude_none=True)
    plain["labels"] = {name: {"image": "debian-12", **keys} for name, keys in labels.items()}
    for name, keys in hosts.items():
        plain["hosts"][name] |= keys
    return PoolConfig.model_validate(plain)


class Facts:
    """A configuration, and what was taken of it."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self.capacity = Capacity(Caps.of(config))
        self.capacity.set_unusable({})

    def take(self, label: str, *, starting: bool = False, size: Size | None = None) -> Allocation:
        allocation = self.capacity.take(label, size=size)
        assert allocation is not None
        if not starting:
            self.capacity.note_started(allocation)
        return allocation

    def why(self, label: str, size: Size | None = None, **facts: Any) -> NoRoom | None:
        given = {"troubles": {}, "unfit": {}, **facts}
        return RoomFacts(self.config, self.capacity, **given).why_no_room(label, size)

    def text(self, label: str, size: Size | None = None, **facts: Any) -> tuple[str, str]:
        why = self.why(label, size, **facts)
        assert why is not None
        return why.reason.kind, why.reason.text


def test_a_label_with_room_and_one_that_never_was_have_nothing_in_the_way() -> None:
    facts = Facts(config_of(one={}))

    assert facts.why("one") is None
    assert facts.why("unknown") is None


def test_a_label_that_has_left_the_file_or_is_drained_says_so() -> None:
    facts = Facts(config_of(one={}))
    facts.capacity.drained = frozenset({Target("label", "one")})

    assert facts.text("two", withdrawn={"two"}) == (
        "drained",
        "label two is not in the pool's YAML file any more",
    )
    assert facts.text("one") == ("drained", "label one is drained")


def test_the_cap_of_the_master_comes_before_that_of_the_label() -> None:
    facts = Facts(config_of(slots=4, max_vms=2, one={"max_vms": 1}, two={}))
    own = facts.take("one")
    assert facts.text("one") == ("cap", "max_vms of label one is reached (1)")
    why = facts.why("one")
    assert why is not None
    assert why.allocations == {own}

    other = facts.take("two")

    assert facts.text("one") == ("cap", "max_vms of the master is reached (2)")
    why = facts.why("one")
    assert why is not None
    assert why.allocations == {own, other}


def held(*allocations: Allocation) -> dict[Allocation, str]:
    return {each: f"vm-{number}" for number, each in enumerate(allocations, 1)}


ONE_HELD = ", 1 of its VMs is held: latent-libvirt release vm-1 frees its place"


def test_a_cap_says_which_of_its_vms_are_held() -> None:
    facts = Facts(config_of(slots=4, max_vms=3, one={"max_vms": 1}, two={}))
    own = facts.take("one")
    other = facts.take("two")

    assert facts.text("one", held=held(own))[1] == f"max_vms of label one is reached (1){ONE_HELD}"
    assert facts.text("one", held=held(other))[1] == "max_vms of label one is reached (1)"

    third = facts.take("two")
    full = "max_vms of the master is reached (3)"
    assert facts.text("one", held=held(own))[1] == full + ONE_HELD
    assert facts.text("one", held=held(own, other, third))[1] == full + ONE_HELD
    assert facts.text("one", held=held(other))[1] == full, "its release alone does not help"
    assert facts.text("two", held=held(own, other, third))[1] == (
        f"{full}, 3 of its VMs are held: latent-libvirt release NAME frees the place of one "
        "(vm-1, vm-2, vm-3)"
    )


def test_of_many_vms_that_are_held_a_few_are_named() -> None:
    facts = Facts(config_of(slots=4, max_vms=4, one={}))
    taken = [facts.take("one") for _ in range(4)]

    text = facts.text("one", held=held(*taken))[1]

    assert "4 of its VMs are held" in text
    assert text.endswith("(vm-1, vm-2, vm-3, ...)")


def test_a_host_says_which_of_its_vms_are_held() -> None:
    facts = Facts(config_of(slots=1, one={"hosts": ["alpha"]}, two={"hosts": ["beta"]}))
    own, other = facts.take("one"), facts.take("two")

    found = facts.text("one", held=held(own))[1]
    assert found.endswith(f"(alpha: all its slots are taken (1){ONE_HELD})")
    assert "held" not in facts.text("one", held=held(other))[1]


def test_a_budget_that_held_vms_have_says_so() -> None:
    label = {"hosts": ["alpha"], "vcpus": 2}
    facts = Facts(with_keys({"alpha": {"slots": 4, "vcpus": 3}}, one=label))
    own = facts.take("one")

    found = facts.text("one", held=held(own))[1]

    assert f"alpha: 2 of 3 vCPUs are given out, it needs 2{ONE_HELD})" in found


def test_what_runs_on_other_hosts_would_not_help() -> None:
    facts = Facts(config_of(slots=1, one={"hosts": ["alpha"]}, two={"hosts": ["beta"]}))
    own = facts.take("one")
    facts.take("two")

    why = facts.why("one")

    assert why is not None
    assert why.reason.text == (
        "no host has room for label one (alpha: all its slots are taken (1))"
    )
    assert why.reason.kind == "host"
    assert why.allocations == {own}


@pytest.mark.parametrize(
    ("drained", "kind"), [(("alpha",), "host"), (("alpha", "beta"), "drained")]
)
def test_a_label_is_drained_with_all_its_hosts_and_not_with_some(
    drained: tuple[str, ...], kind: str
) -> None:
    facts = Facts(config_of(slots=1, one={}))
    facts.take("one")
    facts.take("one")
    facts.capacity.drained = frozenset(Target("host", host) for host in drained)

    found, text = facts.text("one")

    assert found == kind
    assert "alpha: drained" in text
    assert ("beta: drained" in text) == (kind == "drained")


def test_a_host_says_its_trouble_before_what_is_unfit_there() -> None:
    facts = Facts(config_of(slots=1, one={"hosts": ["alpha"]}))
    facts.take("one")
    unfit = {"one": {"alpha": "it is too small"}}

    assert "(alpha: no route)" in facts.text("one", troubles={"alpha": "no route"}, unfit=unfit)[1]
    assert "(alpha: it is too small)" in facts.text("one", unfit=unfit)[1]


def unusable(config: PoolConfig) -> Facts:
    facts = Facts(config)
    facts.capacity.set_unusable({"alpha": None, "beta": None})
    return facts


def test_a_host_without_the_device_of_a_label_says_so() -> None:
    label = {"devices": ["gpu"], "start": "boot"}
    facts = unusable(with_keys({"alpha": {"slots": 4, "devices": [DEVICE]}}, one=label))

    assert facts.text("one")[1] == (
        "no host has room for label one (alpha: its slots with the label's devices are taken; "
        "beta: it has none of the label's devices)"
    )


def test_a_host_with_nothing_to_say_has_its_free_slots_for_others() -> None:
    facts = unusable(config_of(one={"hosts": ["alpha"]}))

    assert "(alpha: its free slots are held by others)" in facts.text("one")[1]


@pytest.mark.parametrize(
    ("budget", "size", "text"),
    [
        ({"vcpus": 4}, None, "2 of 4 vCPUs are given out, it needs 3"),
        ({"vcpus": 5}, None, "its free slots are held by others"),
        ({"vcpus": 5}, Size(4, GIB), "2 of 5 vCPUs are given out, it needs 4"),
        ({"memory": "2GiB"}, None, "1 of 2 GiB of memory are given out, it needs 1.5"),
        ({"memory": "2560MiB"}, None, "its free slots are held by others"),
    ],
)
def test_what_is_given_out_of_a_budget_and_what_is_needed_is_said(
    budget: dict[str, object], size: Size | None, text: str
) -> None:
    wanted = {"hosts": ["alpha"], "vcpus": 3, "memory": "1536MiB"}
    other = {"hosts": ["alpha"], "vcpus": 2, "memory": "1GiB"}
    facts = Facts(with_keys({"alpha": {"slots": 4, **budget}}, one=wanted, two=other))
    facts.take("two")
    facts.capacity.set_unusable({"alpha": None})

    assert f"(alpha: {text})" in facts.text("one", size)[1]


@pytest.mark.parametrize(
    ("allowed", "text"), [(1, "1 of max_starting VMs are starting"), (2, "its free slots")]
)
def test_vms_that_start_may_be_all_that_a_host_starts_at_once(allowed: int, text: str) -> None:
    facts = Facts(
        with_keys({"alpha": {"slots": 4, "max_starting": allowed}}, one={"hosts": ["alpha"]})
    )
    facts.take("one", starting=True)
    facts.capacity.set_unusable({"alpha": None})

    assert f"(alpha: {text}" in facts.text("one")[1]


def test_slots_that_wait_for_frozen_vms_are_numbered() -> None:
    facts = unusable(config_of(one={"hosts": ["alpha"]}))

    found = facts.text("one", reserved={"alpha": frozenset({3, 1})})[1]

    assert "(alpha: frozen VMs are about to be thawed in its slots 1, 3)" in found


def test_the_cap_of_a_label_is_not_reached_by_vms_of_others() -> None:
    facts = Facts(config_of(hosts=("alpha",), slots=1, one={"max_vms": 1}, two={}))
    facts.take("two")

    assert facts.text("one") == (
        "host",
        "no host has room for label one (alpha: all its slots are taken (1))",
    )


def test_a_full_label_of_which_no_host_has_the_image_says_that_too() -> None:
    facts = Facts(config_of(slots=4, max_vms=2, one={"max_vms": 1}, two={}))
    facts.take("one")
    gone = "image lost is not published. Publish it."
    missing = {"one": dict.fromkeys(("alpha", "beta"), gone), "two": {"alpha": gone}}

    _kind, text = facts.text("one", missing=missing)

    assert text == (
        "max_vms of label one is reached (1); and no host has its image (alpha: image lost is not "
        "published. Publish it; beta: image lost is not published. Publish it)"
    )
    facts.take("two")
    assert "image" not in facts.text("two", missing=missing)[1]
