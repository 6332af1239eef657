# SPDX-License-Identifier: GPL-2.0-only
"""What of a host's VMs is of no use to a master whose jobs were given to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import libvirt
import pytest

from latent_libvirt.errors import HostError
from latent_libvirt.host import sweep
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.sweep import Leftovers, Survey
from latent_libvirt.host.volumes import storage

OWNER = "0123456789ab"
OTHER = "ba9876543210"


def domain(slot: int, owner: str, state: str) -> SlotDomain:
    record = VmRecord(
        owner_id=owner,
        master="m",
        pool="p",
        vm_id=f"{slot:016x}",
        label="debian-12",
        worker="w",
        image="i",
        since="",
        state=state,
    )
    return SlotDomain(slot, f"uuid-{slot}", record)


def survey(*domains: SlotDomain) -> Survey:
    overlays = [OwnedVolume(d.record.owner_id, d.slot, d.record.vm_id) for d in domains if d.record]
    return Survey("host", domains, tuple(overlays))


@pytest.mark.parametrize(
    ("state", "goes"), [("job", True), ("saving", True), ("spare", False), ("held", False)]
)
def test_what_serves_jobs_goes_and_what_is_to_stay_stays(state: str, *, goes: bool) -> None:
    seen = survey(domain(1, OWNER, state), domain(2, OTHER, "job"))

    left = seen.jobs_of({OWNER})

    assert [d.slot for d in left.domains] == [1] * goes
    assert [volume.slot for volume in left.volumes] == [1] * goes


def test_a_vm_that_is_to_be_held_waits_for_its_owner_but_not_for_another_master() -> None:
    owner = Owner("host:/master", "pool")
    job = domain(1, owner.id, "job")
    assert job.record is not None
    asked = replace(job, record=replace(job.record, hold_for="60"))
    seen = survey(asked, domain(2, owner.id, "job"))

    assert seen.meant_to_stay(owner) == (asked,)
    assert [each.slot for each in seen.jobs_of({owner.id}).domains] == [1, 2], "no job runs twice"


def test_a_domain_of_somebody_elses_is_not_touched() -> None:
    assert not survey(SlotDomain(1, "uuid", None)).jobs_of({OWNER})


def test_leftovers_are_freed_once_for_whatever_reasons() -> None:
    one = survey(domain(1, OWNER, "job")).jobs_of({OWNER})
    both = survey(domain(1, OWNER, "job"), domain(2, OTHER, "job")).jobs_of({OWNER, OTHER})

    assert one | both == both | one == both
    assert one | Leftovers((), ()) == one


def test_a_host_is_shared_once_anything_there_belongs_to_another_owner() -> None:
    owner = Owner("host:/master", "pool")
    own = survey(domain(1, owner.id, "job"), SlotDomain(2, "uuid", None))
    saved = OwnedVolume(OTHER, 1, "abc", "0" * 24)

    assert not own.has_others_than(owner)
    assert survey(domain(1, OTHER, "job")).has_others_than(owner)
    assert Survey("host", (), (OwnedVolume(OTHER, 1, "abc"),)).has_others_than(owner)
    assert Survey("host", (), (saved,)).has_others_than(owner)


def test_what_is_left_is_counted_by_its_kind() -> None:
    overlay, saved = OwnedVolume(OTHER, 1, "abc"), OwnedVolume(OTHER, 1, "abc", "0" * 24)
    left = Leftovers((domain(1, OTHER, "job"), domain(2, OTHER, "job")), (overlay, saved))

    assert left.counts() == {"domain": 2, "overlay": 1, "saved": 1}
    assert left.counts() - Leftovers((), (saved,)).counts() == {"domain": 2, "overlay": 1}
    assert left.in_words()[2:] == (f"overlay {overlay.disk}", f"saved state {saved}")


def test_a_saved_state_stays_that_is_resumable_and_an_overlay_of_no_live_vm_does_not() -> None:
    overlay, saved = OwnedVolume(OTHER, 1, "abc"), OwnedVolume(OTHER, 1, "abc", "0" * 24)
    seen = Survey("host", (), (overlay, saved))

    assert seen.left_behind({OTHER}, live=()).volumes == (overlay, saved)
    assert seen.left_behind({OTHER}, live=(), resumable={"abc"}).volumes == (overlay,)
    assert seen.left_behind({OTHER}, live={"abc"}).volumes == ()
    assert seen.left_behind({OWNER}, live=()).volumes == ()


@pytest.mark.parametrize("error", [libvirt.libvirtError("no"), HostError("no"), SystemError("no")])
def test_what_cannot_be_freed_whatever_the_host_says_keeps_nothing_else(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """No libvirt can be made to fail like this, so a fake stands for it."""
    freed: list[object] = []

    def destroy(_connection: object, name: str, *, vm_id: str) -> None:
        if vm_id == f"{1:016x}":
            raise error
        freed.append(name)

    monkeypatch.setattr(slot_domains, "destroy_domain", destroy)
    monkeypatch.setattr(storage, "storage_pool", lambda *_: object())
    monkeypatch.setattr(storage, "delete_owned", lambda _pool, volume: freed.append(volume.slot))
    seen = survey(domain(1, OWNER, "job"), domain(2, OWNER, "job"))
    connection: Any = object()

    stuck = sweep.free(connection, "default", seen.jobs_of({OWNER}))

    assert freed == ["latent-libvirt-2", 1, 2]
    assert [each.slot for each in stuck.things.domains] == [1]
    assert stuck.why == "no"
