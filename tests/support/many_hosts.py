# SPDX-License-Identifier: GPL-2.0-only
"""A pool with many hosts on paper, half of whose slots are taken, and whose space is full."""

from __future__ import annotations

from collections.abc import Iterator

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import SavedState
from paper_pool import OWNER, PaperPool, config_of

SLOTS = 40
LABELS = 100
SAVED = 20
"""States of each host, which fill its space."""

SIZE = 2**30


def with_hosts(count: int) -> PaperPool:
    """Return a pool that has looked at all of its hosts."""
    labels: dict[str, dict[str, object]] = {
        f"label-{number}": {"memory": f"{512 + number}MiB"} for number in range(LABELS)
    }
    hosts = tuple(f"host-{number}" for number in range(count))
    config = config_of(hosts=hosts, slots=SLOTS, max_vms=count * SLOTS, **labels)
    pool = PaperPool(config)
    for number, host in enumerate(pool.paper_hosts.values()):
        for state in _states(config, number):
            host.saved.states.add(state)
    for number in range(count * SLOTS // 2):
        allocation = pool.capacity.take(f"label-{number % LABELS}")
        assert allocation is not None
        pool.capacity.note_started(allocation)
    pool.hosts_changed()
    pool.tidy()
    for _ in pool.state_saver.tidy():
        pass
    assert not list(pool.state_saver)
    return pool


def _states(config: PoolConfig, host: int) -> Iterator[SavedState]:
    for number in range(SAVED):
        label, vm_id = f"label-{(host + number) % LABELS}", f"{host * SAVED + number:x}"
        record = VmRecord(
            OWNER.id, "master", "pool", vm_id, label, "", "newest", "now",
            spec_hash=vm_spec(config, label).hash,
        )  # fmt: skip
        name = OwnedVolume(OWNER.id, number + 1, vm_id, "0" * 24)
        yield SavedState(name, record, "<domain/>", "/path", SIZE)
