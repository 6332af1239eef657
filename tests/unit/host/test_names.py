# SPDX-License-Identifier: GPL-2.0-only
"""Names that tell whose a thing is."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host import names
from latent_libvirt.host.names import OwnedVolume, Owner

slots = st.integers(1, 10_000)
owners = st.builds(Owner, master=st.text(), pool=st.text())


@given(owners, slots, st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True))
def test_the_name_of_an_overlay_says_what_it_was_made_from(
    owner: Owner, slot: int, vm_id: str
) -> None:
    name = OwnedVolume(owner.id, slot, vm_id)

    assert OwnedVolume.overlay(str(name)) == name


@given(st.integers(1, 99), st.sampled_from(["", "0" * 24]))
def test_the_name_of_another_disk_says_which_one_it_is(number: int, key: str) -> None:
    name = OwnedVolume("0" * 12, 1, "aa", key).of_disk(number)

    assert name.files == (name.disk,) == (str(name),)
    assert OwnedVolume.parse(name.disk) == name
    assert OwnedVolume.parse(name.state) is None


@pytest.mark.parametrize(
    "name",
    [
        "debian-12.qcow2",
        "latent-libvirt.overlay.0123456789ab.1.aa.0.qcow2",
        "latent-libvirt.overlay.0123456789ab.1.aa.100.qcow2",
        "latent-libvirt.overlay.0123456789ab.1.aa.qcow2.bak",
        "latent-libvirt.overlay.0123456789abc.1.aa.qcow2",
        "latent-libvirt.overlay.0123456789ab.0.aa.qcow2",
        "latent-libvirt.image.debian-12.0123456789abcdef.qcow2",
        "x-latent-libvirt.overlay.0123456789ab.1.aa.qcow2",
    ],
)
def test_other_volumes_are_nobodys_overlays(name: str) -> None:
    assert OwnedVolume.overlay(name) is None


@given(
    owners,
    slots,
    st.from_regex(r"[0-9a-f]{24}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True),
)
def test_both_names_of_a_saved_state_say_what_they_were_made_from(
    owner: Owner, slot: int, key: str, vm_id: str
) -> None:
    name = OwnedVolume(owner.id, slot, vm_id, key)

    assert OwnedVolume.saved(name.disk) == name
    assert OwnedVolume.saved(name.state) == name
    assert OwnedVolume.overlay(name.disk) is None


@pytest.mark.parametrize(
    "name",
    [
        "latent-libvirt.saved.0123456789ab.1.0123456789abcdef01234567.aa.state.bak",
        "latent-libvirt.saved.0123456789ab.1.0123456789abcdef01234567.aa.json",
        "latent-libvirt.saved.0123456789ab.0.0123456789abcdef01234567.aa.state",
        "latent-libvirt.saved.0123456789ab.1.0123456789abcdef.aa.state",
        "latent-libvirt.overlay.0123456789ab.1.aa.qcow2",
    ],
)
def test_other_volumes_are_nobodys_saved_states(name: str) -> None:
    assert OwnedVolume.saved(name) is None


@given(slots)
def test_the_slot_can_be_read_from_a_domains_name(slot: int) -> None:
    assert names.slot_of(names.domain_name(slot)) == slot


@pytest.mark.parametrize("name", ["latent-libvirt-0", "latent-libvirt-1x", "latent-libvirt", "vm"])
def test_other_domains_are_in_no_slot(name: str) -> None:
    assert names.slot_of(name) is None


def test_owners_whose_names_begin_alike_are_told_apart() -> None:
    """Buildbot #3800: cleaning up after worker-1 killed worker-11."""
    owners = [Owner("host:/master", "pool"), Owner("host:/master1", "pool"), Owner("host:/m", "p")]

    assert len({owner.id for owner in owners}) == 3


def test_master_and_pool_cannot_be_confused() -> None:
    assert Owner("a", "b\nc").id != Owner("a\nb", "c").id


def test_a_slots_uuid_is_its_own_for_ever() -> None:
    host = "74315a47-2e50-45ee-86e8-555de9c6a294"

    assert names.slot_uuid(host, 1) == names.slot_uuid(host, 1)
    assert names.slot_uuid(host, 1) != names.slot_uuid(host, 2)
    assert names.slot_uuid(host, 1) != names.slot_uuid("another", 1)
    assert str(uuid.UUID(names.slot_uuid(host, 1))) == names.slot_uuid(host, 1)


@given(st.uuids().map(str), slots)
def test_a_slots_mac_is_a_unicast_address_of_local_administration(host: str, slot: int) -> None:
    assert re.fullmatch("02(:[0-9a-f]{2}){5}", names.slot_mac(host, slot))
