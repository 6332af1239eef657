# SPDX-License-Identifier: GPL-2.0-only
"""The assembly of a pool: how its parts act on each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed

from latent_libvirt.config import LabelConfig, PoolConfig
from latent_libvirt.config.section import HARDWARE
from latent_libvirt.config.units import GIB
from latent_libvirt.errors import CapacityError, ConfigurationError, GivenUpError, HostError
from latent_libvirt.guest.protocol import Identity, MasterAddress
from latent_libvirt.host.architectures import Architectures
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.host import Host
from latent_libvirt.host.machine_room import MachineRoom
from latent_libvirt.host.meters.usage import Reading
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.proxy.file_cache import FileCache
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.pool.lease import Idle
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from latent_libvirt.pool.ways import WorkerPort
from latent_libvirt.status.names import Target
from paper_pool import IDENTITY, OWNER, PaperHost, PaperPool, config_of, host_of, machine_of
from synchronous import all_of


def port_of(number: int, certificate: str | None = None) -> WorkerPort:
    return WorkerPort("a factory", lambda: (number, certificate))


def idling(pool: PaperPool, label: str) -> list[str]:
    """Let a VM of *label* idle; return a list that gets its label when it is ended."""
    lease = pool.building(label, worker=f"{label}-1")
    ended: list[str] = []

    def end() -> Deferred[None]:
        ended.append(label)
        pool.capacity.give_back(lease.vm.allocation)
        return succeed(None)

    lease.idle = Idle(end)
    return ended


def offered(pool: PaperPool, host: str, record: VmRecord, slot: int = 1) -> bool:
    """Return whether the pool takes over a VM that *host* has found."""
    domain = SlotDomain(slot, "uuid", record)
    return pool._context().adopt(cast("Host", pool.paper_hosts[host]), domain)


def spare_record(pool: PaperPool) -> VmRecord:
    """Return what the metadata of a spare says that an earlier master has left."""
    elsewhere = PaperPool(pool.config)
    elsewhere.tidy()
    return next(iter(elsewhere.spares)).machine.record


def test_a_vm_that_idles_goes_before_a_spare() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={}, three={"spares": 1}))
    ended = idling(pool, "two")
    pool.tidy()

    pool.allocator.make_room("one")

    assert ended == ["two"]
    assert not pool.paper_hosts["alpha"].discarded


def test_a_vm_that_runs_only_to_be_saved_goes_before_one_that_idles() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={}))
    ended = idling(pool, "two")
    all_of(pool.state_saver.tidy())
    (saving,) = pool.state_saver

    pool.allocator.make_room("one")

    assert not ended
    assert machine_of(saving).is_over


def test_a_vm_starts_in_a_slot_that_has_a_saved_state_of_its_label() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=3, one={}))
    record = VmRecord(
        OWNER.id,
        "m",
        "pool",
        "aa",
        "one",
        "",
        "newest",
        "now",
        spec_hash=vm_spec(pool.config, "one").hash,
    )
    name = OwnedVolume(OWNER.id, 3, "aa", "0" * 24)
    pool.paper_hosts["alpha"].saved.states.add(SavedState(name, record, "<domain/>", "/", 1))

    pool.hosts_changed()

    assert pool.give().vm.allocation.slot == 3


def test_a_build_gets_the_spare_that_waits_for_it() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()

    assert pool.give().vm is spare


@pytest.mark.parametrize("kind", ["trouble", "back-off"])
def test_no_vm_starts_on_a_host_that_cannot_be_used(kind: str) -> None:
    pool = PaperPool(config_of(one={}))
    if kind == "trouble":
        pool.paper_hosts["alpha"].usable = False
        pool.hosts_changed()
    else:
        for _ in range(3):
            pool.host_backoff.note_failure("alpha", "one", HostError("it fails"))

    assert [pool.give(worker=name).vm.host.name for name in "ab"] == ["beta", "beta"]
    assert not pool.capacity.room("one")


def test_a_label_that_a_host_is_too_small_for_gets_no_vm_there() -> None:
    pool = PaperPool(config_of(slots=1, one={"vcpus": 8}, two={}))
    small: Any = SimpleNamespace(why_unfit=lambda label, **_: "large" * (label.vcpus > 4))
    pool.paper_hosts["alpha"].machine_room = small

    pool.hosts_changed()

    assert pool.usable.unfit() == {"one": {"alpha": "large"}}
    assert pool.give("one").vm.host.name == "beta"
    assert not pool.capacity.room("one")
    assert pool.capacity.room("two")


def test_a_label_that_fails_on_a_host_where_others_come_up_gets_no_vm_there_for_a_while() -> None:
    pool = PaperPool(config_of(slots=1, one={}, two={}))
    pool.host_backoff.note_success("alpha", "two")
    for _ in range(3):
        pool.host_backoff.note_failure("alpha", "one", HostError("it fails"))

    ((label, hosts),) = pool.usable.unfit().items()
    assert (label, list(hosts)) == ("one", ["alpha"])
    assert hosts["alpha"].startswith("in back-off for ")
    assert pool.give("one").vm.host.name == "beta"
    assert not pool.capacity.room("one")
    assert pool.capacity.room("two")


def test_hosts_ask_their_pool_for_owners_twins_and_the_function_that_changes_domains() -> None:
    pool = PaperPool(config_of(one={}))
    context, around = pool._context(), pool._environment

    assert context.twin == pool.hosts.twin_of
    assert (context.dead_owners, context.failed_over_owners) == (
        around.dead_owners,
        around.failed_over_owners,
    )
    assert (context.events, context.change_domain) == (around.events, around.change_domain)


def test_builders_look_for_room_when_a_lease_has_gone_and_not_only_when_its_vm_has() -> None:
    leases: list[int] = []

    class Watched(PaperPool):
        def _wake(self) -> None:
            leases.append(len(self.leases))

    pool = Watched(config_of(one={}))
    lease = pool.building()

    Deferred.fromCoroutine(pool.release(lease, graceful=True))

    assert leases[-1] == 0


def test_a_host_without_the_architecture_of_a_label_is_no_candidate_and_says_so() -> None:
    pool = PaperPool(
        config_of(slots=1, arm={"arch": "aarch64", "image": "debian-12-aarch64"}, two={})
    )
    known = Architectures("x86_64", {"x86_64": frozenset({"qemu", "kvm"})})
    pool.paper_hosts["alpha"].machine_room = MachineRoom(8, 64 * GIB, known)
    pool.hosts_changed()

    assert pool.give("arm").vm.host.name == "beta"
    assert pool.give("two").vm.host.name == "alpha"

    with pytest.raises(CapacityError) as refused:
        pool.lease("arm-2", "arm")
    assert (
        "Label arm gets no VM on host alpha: it has no QEMU for aarch64 (Debian: install "
        "qemu-system-arm, and restart libvirtd)" in (refused.value.details or "")
    )


def test_a_spare_of_the_last_master_is_adopted_while_the_pool_runs_only() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    record = spare_record(pool)

    pool.is_running = False
    assert not offered(pool, "alpha", record)
    pool.is_running = True
    assert offered(pool, "alpha", record)

    assert [vm.vm_id for vm in pool.spares] == [record.vm_id]
    assert not list(pool.holds)


def test_a_domain_without_a_record_is_not_adopted() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))

    assert not offered(pool, "alpha", cast("VmRecord", None))


def test_a_vm_that_the_last_master_held_is_held_on() -> None:
    pool = PaperPool(config_of(one={}))
    until = "2999-01-01T00:00:00+00:00"
    record = replace(spare_record(PaperPool(config_of(one={"spares": 1}))), state="held")

    assert offered(pool, "alpha", replace(record, until=until))

    assert [hold.vm.vm_id for hold in pool.holds] == [record.vm_id]
    assert not list(pool.spares)
    label = pool.config.labels["one"]  # its host has said nothing of its size
    assert pool.capacity.given("alpha") == Size(label.vcpus, label.memory)


@pytest.mark.parametrize("keep", [True, False], ids=["restart", "removed"])
def test_spares_outlive_a_restart_but_not_the_pool(*, keep: bool) -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    host = host_of(spare)

    done: list[None] = []
    Deferred.fromCoroutine(pool.stop(keep=keep)).addCallback(done.append)

    assert done == [None]
    assert [bool(host.left), bool(host.discarded)] == [keep, not keep]
    assert host.saved.retired_all == ([] if keep else ["the pool is not configured any more"])
    assert not pool.hosts
    assert host.stopped


def test_a_vm_that_runs_only_to_be_saved_ends_with_the_pool() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={}))
    all_of(pool.state_saver.tidy())
    (saving,) = pool.state_saver

    Deferred.fromCoroutine(pool.stop(keep=False))

    assert machine_of(saving).is_over


def test_a_larger_cap_makes_room_at_once() -> None:
    pool = PaperPool(config_of(max_vms=1, one={}))
    pool.give()
    assert not pool.capacity.room("one")
    before = pool.wakes

    pool.configure(config_of(max_vms=2, one={}))

    assert pool.capacity.room("one")
    assert pool.wakes > before, "builds look for it"


def test_a_label_that_gets_too_large_for_a_host_has_no_room_there_at_once() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"vcpus": 2}))
    small: Any = SimpleNamespace(why_unfit=lambda label, **_: "large" * (label.vcpus > 4))
    pool.paper_hosts["alpha"].machine_room = small
    pool.hosts_changed()
    assert pool.capacity.room("one")

    pool.configure(config_of(hosts=("alpha",), one={"vcpus": 8}))

    assert not pool.capacity.room("one")


def test_a_host_that_is_configured_later_is_used() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    pool.give()

    pool.configure(config_of(hosts=("alpha", "beta"), slots=1, one={}))

    assert pool.give(worker="second").vm.host.name == "beta"
    assert isinstance(pool.paper_hosts["beta"], PaperHost)


def test_the_end_of_a_vm_is_reported_and_wakes_those_who_wait() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    before = pool.wakes

    Deferred.fromCoroutine(pool.release(lease, graceful=True))

    assert [report.worker for report in pool.reports] == ["worker"]
    assert pool.wakes > before


def test_what_could_not_be_evicted_is_tried_again_when_room_changes() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}, two={}))
    pool.building("two")
    pool.allocator.make_room("one")
    assert not pool.allocator.can_make_room("one")

    pool.room_changed()

    assert pool.allocator.can_make_room("one")


def test_a_vm_that_served_a_build_of_a_killed_master_is_noted_with_its_size() -> None:
    choice = {"min": 1, "max": 6, "default": 2}
    pool = PaperPool(config_of(one={"vcpus": choice, "memory": "1GiB"}, other={}))
    record = replace(spare_record(PaperPool(config_of(one={"spares": 1}))), worker="one-1")
    abandoned = pool._context().abandoned

    abandoned("alpha", record, Reading(0.0))
    abandoned("beta", replace(record, size=f"6x{GIB}"), Reading(0.0))
    pool.configure(config_of(other={}))
    abandoned("alpha", record, Reading(0.0))

    assert pool.lost_builds == [
        ("alpha", "one", Size(2, GIB)),
        ("beta", "one", Size(6, GIB)),
        ("alpha", "one", Size()),  # nothing is known of a label that has gone
    ]


def test_only_workers_of_labels_with_a_channel_come_to_the_master_through_one() -> None:
    pool = PaperPool(config_of(one={"connection": "channel"}, two={"connection": "tcp"}))

    assert [pool.uses_channel(label) for label in ("one", "two", "gone")] == [True, False, False]


def test_what_guests_have_fetched_goes_when_it_may_take_less_space_and_stops_with_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name in ("shrink", "stop"):  # they work in a thread: see tests/unit/host/proxy
        monkeypatch.setattr(FileCache, name, lambda _cache, name=name: called.append(name))

    class Caching(PaperPool):
        cache = tmp_path

    def with_space(size: int) -> PoolConfig:
        made = config_of(one={})
        master = made.master.model_copy(update={"fetch_cache": size})
        return made.model_copy(update={"master": master})

    pool = Caching(with_space(GIB))
    for size in (GIB, 2 * GIB):
        pool.configure(with_space(size))
    assert not called
    pool.configure(with_space(GIB))
    assert called == ["shrink"]

    Deferred.fromCoroutine(pool.stop(keep=True))

    assert called == ["shrink", "stop"]
    PaperPool(with_space(GIB)).configure(with_space(0))
    assert called == ["shrink", "stop"], "a pool without a directory keeps nothing"


# VMs for workers.


def test_a_build_gets_the_room_that_was_reserved_for_it() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    pool.admission.confirm_reservation("one-1")
    assert not pool.allocator.has("one")

    lease = pool.lease("one-1", "one", (7,))

    assert pool.capacity.taken == {lease.vm.allocation}
    assert (lease.worker, lease.requests, lease.way) == ("one-1", (7,), "cold")
    assert pool.leases["one-1"] is lease
    assert lease.vm.machine.record.worker == "one-1"


def test_a_build_starts_in_the_room_that_was_reserved_although_its_label_is_drained_since() -> None:
    pool = PaperPool(config_of(one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    pool.admission.confirm_reservation("one-1")
    pool.capacity.drained = frozenset({Target("label", "one")})

    assert pool.lease("one-1", "one") is pool.leases["one-1"]


def test_a_build_that_has_reserved_nothing_gets_what_room_there_is() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))

    lease = pool.lease("one-1", "one")

    assert pool.capacity.taken == {lease.vm.allocation}
    assert lease.requests == ()


def test_where_there_is_no_room_the_error_says_all_that_is_in_the_way() -> None:
    pool = PaperPool(config_of(hosts=("alpha", "beta", "gamma", "delta"), slots=1, one={}))
    pool.paper_hosts["alpha"].usable = False
    pool.paper_hosts["alpha"].trouble = "it does not answer"
    for _ in range(3):
        pool.host_backoff.note_failure("beta", "one", HostError("it fails"))
    small: Any = SimpleNamespace(why_unfit=lambda *_, **_more: "the VM is too large")
    pool.paper_hosts["gamma"].machine_room = small
    pool.paper_hosts["delta"].lacks = {"debian-12"}
    assert Deferred.fromCoroutine(pool.image_check.run()).called

    with pytest.raises(CapacityError) as caught:
        pool.lease("one-2", "one")

    assert caught.value.brief == "no room for a VM of label 'one'"
    count, alpha, beta, gamma, delta = (caught.value.details or "").splitlines()
    assert count == "0 of max_vms 10 VMs are there."
    assert alpha == "Host alpha is not usable: it does not answer"
    assert beta.startswith("Host beta is in back-off")
    assert gamma == "Label one gets no VM on host gamma: the VM is too large"
    assert delta == (
        "Label one gets no VM on host delta: image debian-12 is not published. Publish debian-12."
    )


@pytest.mark.parametrize(
    ("asked_for", "resolution"),
    [
        ("debain-12", "Did you mean 'debian-12'? If not, add it to the pool's YAML file"),
        ("windows", "Add it to the pool's YAML file"),
    ],
)
def test_a_label_that_is_not_configured_is_refused_with_the_nearest_one(
    asked_for: str, resolution: str
) -> None:
    config = config_of(one={})
    labels = {"debian-12": config.labels["one"], "fedora": config.labels["one"]}
    pool = PaperPool(config.model_copy(update={"labels": labels}))

    with pytest.raises(ConfigurationError) as caught:
        pool.lease("worker", asked_for)

    assert caught.value.brief == f"label {asked_for!r} is not configured"
    assert caught.value.details == "The pool's labels: debian-12, fedora."
    assert caught.value.resolution == (
        f"{resolution}, or correct the label where it is asked for: in master.cfg, or in the "
        "build property that it comes from."
    )


def test_a_job_that_has_lost_as_many_vms_as_it_may_gets_no_other() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 2}))
    for _ in range(2):
        pool.attempts.note_failure((7,), "it was silent")

    with pytest.raises(GivenUpError):
        pool.lease("one-1", "one", (7,))

    assert not pool.capacity.taken
    assert pool.lease("one-1", "one", (8,)) is pool.leases["one-1"]


def test_each_build_that_could_have_had_a_spare_is_counted() -> None:
    pool = PaperPool(config_of(one={"spares": 1}, two={}))
    pool.tidy()

    pool.lease("one-1", "one")
    pool.lease("one-2", "one")
    pool.lease("two-1", "two")

    assert pool.told.spares_asked_for == [("one", True), ("one", False)]


def test_a_build_that_gets_a_spare_is_counted_although_none_is_wanted_any_more() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    pool.configure(config_of(one={}))

    pool.lease("one-1", "one")

    assert pool.told.spares_asked_for == [("one", True)]


def test_a_lease_is_noted_when_its_worker_has_attached() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.lease("one-1", "one")
    asked: list[VM] = []

    async def identify(vm: VM) -> Identity:
        asked.append(vm)
        return IDENTITY

    done = Deferred.fromCoroutine(pool.bring_up(lease, identify))
    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    assert not pool.told.began
    lease.attached()

    assert done.called
    assert asked == [lease.vm]
    ((report, seconds),) = pool.told.began
    assert (report.worker, report.vm_id) == ("one-1", lease.vm.vm_id)
    assert 0 < seconds <= lease.timeline.age


@pytest.mark.parametrize(
    ("master", "label", "address"),
    [
        ("198.51.100.1", "192.0.2.7", "192.0.2.7"),
        ("198.51.100.1", None, "198.51.100.1"),
        (None, None, "the user network of alpha"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_vm_is_told_where_to_find_the_master_and_who_it_is(
    master: str | None, label: str | None, address: str
) -> None:
    config = config_of(hosts=("alpha",), one={"user": "builder", "address": label})
    settings = config.master.model_copy(update={"address": master})
    pool = PaperPool(config.model_copy(update={"master": settings}))
    vm = pool.give().vm

    identity = await pool.identity(vm, "one-1", password="secret", port=port_of(9989, "PEM"))

    assert identity == Identity("one-1", "secret", MasterAddress(address, 9989, "PEM"), "builder")


@pytest_twisted.ensureDeferred
async def test_the_address_of_the_label_is_that_of_now_even_for_a_spare_that_is_older() -> None:
    pool = PaperPool(config_of(one={"address": "192.0.2.1"}, other={}))
    vm = pool.give().vm

    pool.configure(config_of(one={"address": "192.0.2.2"}, other={}))
    now = await pool.identity(vm, "one-1", password="secret", port=port_of(9989))
    pool.configure(config_of(other={}))
    last = await pool.identity(vm, "one-1", password="secret", port=port_of(9989))

    assert now.master == MasterAddress("192.0.2.2", 9989)
    assert last.master == MasterAddress("192.0.2.1", 9989)


def test_a_guest_is_shut_down_before_its_vm_is_taken_back_if_there_is_time() -> None:
    pool = PaperPool(config_of(one={"shutdown": "graceful", "shutdown_timeout": "30s"}))
    leases = [pool.building(worker=name, request=n) for n, name in enumerate("ab")]

    for lease, graceful in zip(leases, (True, False), strict=True):
        Deferred.fromCoroutine(pool.release(lease, graceful=graceful))

    assert [machine_of(lease.vm).shut_down_for for lease in leases] == [[30.0], []]


class Newer(LabelConfig):
    """Labels with a key that guests see."""

    nested: Annotated[bool | None, HARDWARE] = None


def with_nested(config: PoolConfig, *, nested: bool | None) -> PoolConfig:
    """Return the same configuration, whose label ``one`` has that key."""
    keys = config.labels["one"].model_dump(mode="json", exclude_none=True)
    return config.model_copy(
        update={"labels": {"one": Newer.model_validate({**keys, "nested": nested})}}
    )


def test_spares_and_saved_states_follow_a_hardware_key_that_is_new() -> None:
    config = with_nested(config_of(hosts=("alpha",), one={"spares": 1}), nested=None)
    pool = PaperPool(config)
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    record = replace(spare.machine.record, image="newest")
    state = SavedState(OwnedVolume(OWNER.id, 2, "aa", "0" * 24), record, "<domain/>", "/", 1)
    pool.paper_hosts["alpha"].saved.states.add(state)

    pool.configure(with_nested(config, nested=None))
    pool.tidy()
    all_of(pool.state_saver.tidy())
    assert not machine_of(spare).is_over
    assert not pool.paper_hosts["alpha"].saved.gone

    pool.configure(with_nested(config, nested=True))
    pool.tidy()
    all_of(pool.state_saver.tidy())
    assert machine_of(spare).is_over
    assert [lease for lease, _why in pool.paper_hosts["alpha"].saved.gone] == ["aa"]


@pytest.mark.parametrize(
    ("failure", "failed", "noted"),
    [("", False, False), ("", True, True), ("the VM is gone", False, True)],
)
def test_a_build_that_failed_or_lost_its_vm_is_counted_against_its_version(
    monkeypatch: pytest.MonkeyPatch, failure: str, *, failed: bool, noted: bool
) -> None:
    pool = PaperPool(config_of(one={}))
    notes: list[bool] = []
    monkeypatch.setattr(pool.canaries, "note_build", lambda _vm, *, failed: notes.append(failed))
    lease = pool.building()
    lease.failure = failure

    Deferred.fromCoroutine(pool.release(lease, graceful=False, failed=failed))

    assert notes == [noted]
