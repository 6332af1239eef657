# SPDX-License-Identifier: GPL-2.0-only
"""Which saved state is good for which VM, and which of them go first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    Hardware,
    VmRecord,
)
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import (
    SavedState,
    SavedStates,
    saved_state_key,
)
from specs import a_spec

RECORD = VmRecord("0123456789ab", "host:/m", "pool", "00", "l", "w", "abc", "now", spec_hash="x")
SPEC = DomainSpec(
    name="latent-libvirt-1",
    uuid="74315a47-2e50-45ee-86e8-555de9c6a294",
    record=RECORD,
    hardware=Hardware("qemu", a_spec(vcpus=2, memory="512MiB"), "02:00:00:00:00:01"),
    disk=None,
    boot=DirectKernel("/k", "/i", "quiet"),
)
KEY = "0" * 24


def with_vm(**label: Any) -> DomainSpec:
    """Return the same domain, of another VM."""
    vm = a_spec(**{"vcpus": 2, "memory": "512MiB", **label})
    return replace(SPEC, hardware=replace(SPEC.hardware, vm=vm))


def key(**changes: Any) -> str:
    given = {"spec": SPEC, "image": "abc", "fingerprint": "01234567", **changes}
    return saved_state_key(given.pop("spec"), **given)


def state(vm_id: str, *, slot: int = 1, key: str = KEY, spec_hash: str = "x") -> SavedState:
    name = OwnedVolume(RECORD.owner_id, slot, vm_id, key)
    return SavedState(name, replace(RECORD, spec_hash=spec_hash), "<domain/>", "/path", 100)


def test_whose_vm_it_is_and_on_which_overlay_makes_no_other_key() -> None:
    other = replace(SPEC, record=replace(RECORD, worker="v", vm_id="11"), disk="/d")

    assert key(spec=other) == key(spec=replace(other, keeps_disk=True)) == key()
    assert len(key()) == len(KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "abd"},
        {"fingerprint": "89abcdef"},
        {"spec": replace(SPEC, uuid="84315a47-2e50-45ee-86e8-555de9c6a294")},
        {"spec": with_vm(vcpus=1)},
        {"spec": with_vm(memory="1GiB")},
        {"spec": with_vm(disk="9GiB")},
        {"spec": replace(SPEC, hardware=replace(SPEC.hardware, type="kvm"))},
        {"spec": with_vm(network={"bridge": "b"})},
        {"spec": replace(SPEC, boot=DirectKernel("/k", "/i", "loud"))},
    ],
)
def test_whatever_the_guest_would_see_makes_another_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_a_vm_is_resumed_from_its_own_slots_state_of_its_own_key() -> None:
    states = SavedStates()
    states.add(state("aa"))

    assert states.claim(2, KEY) is None
    assert states.claim(1, "1" * 24) is None
    found = states.claim(1, KEY)
    assert found is not None
    assert found.name.vm_id == "aa"


def test_a_state_for_the_same_wishes_with_another_key_is_outdated() -> None:
    states = SavedStates()
    for each in (state("aa"), state("bb", slot=2), state("cc", spec_hash="y")):
        states.add(each)

    assert [old.name.vm_id for old in states.outdated(1, "1" * 24, "x")] == ["aa"]
    assert states.outdated(1, KEY, "x") == []


def test_what_is_retired_is_given_to_nobody_and_goes_when_no_vm_needs_it() -> None:
    states = SavedStates()
    states.add(state("aa"))
    states.retire(state("aa"))

    assert states.claim(1, KEY) is None
    assert states.take_unused({"aa"}) == []
    assert states.size == 100
    assert [gone.name.vm_id for gone in states.take_unused({"bb"})] == ["aa"]
    assert (states.size, states.retired) == (0, frozenset())


@given(st.lists(st.sampled_from("abc")))
def test_those_go_first_that_were_not_used_for_the_longest(uses: list[str]) -> None:
    states = SavedStates()
    for slot, vm_id in enumerate("abc", start=1):
        states.add(state(vm_id, slot=slot))
    for vm_id in uses:
        states.claim("abc".index(vm_id) + 1, KEY)

    last = {
        vm_id: max([i for i, used in enumerate(uses) if used == vm_id], default=-1)
        for vm_id in "abc"
    }
    order = [each.name.vm_id for each in states.least_used_first()]
    assert order == sorted("abc", key=lambda vm_id: last[vm_id])


def test_what_has_come_since_the_host_was_looked_at_is_not_missing() -> None:
    states = SavedStates()
    states.add(state("aa"))
    before = states.vm_ids
    states.add(state("bb"))

    assert [gone.name.vm_id for gone in states.forget_missing(before, set())] == ["aa"]
    assert states.vm_ids == {"bb"}


def test_one_vm_is_saved_after_the_other() -> None:
    states = SavedStates()

    assert states.begin("aa", "image")
    assert not states.begin("bb", "image")
    assert states.is_busy
    states.end("aa")
    assert states.begin("bb", "image")


def test_an_image_that_cannot_be_saved_is_not_tried_again() -> None:
    states = SavedStates()

    assert states.note_unfit("image", "because")
    assert not states.note_unfit("image", "because")
    assert not states.begin("aa", "image")
    assert states.why_unfit("image") == "because"
    assert states.begin("aa", "another")


def test_the_slots_where_a_label_can_be_resumed_are_known() -> None:
    states = SavedStates()
    for each in (state("aa"), state("bb", slot=3), state("cc", slot=2, spec_hash="y")):
        states.add(each)

    assert states.slots() == {"x": {1, 3}, "y": {2}}
