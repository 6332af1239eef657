# SPDX-License-Identifier: GPL-2.0-only
"""A master that is killed again and again, at any moment of the lives of its VMs.

How often is ``LATENT_LIBVIRT_KILLS``: half of them where VMs boot, half where they are resumed;
``LATENT_LIBVIRT_SEED`` repeats the moments of a run, which are logged as they pass. One kill
in each known phase is in ``test_killed_master.py``.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import libvirt

from buildmaster import BuildMaster, wait_for
from commands import status
from lab import STORAGE_POOL, Lab
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ControlError, StatusRequest
from latent_libvirt.host.domains.slot_domains import slot_domains
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.status.pool import PoolStatus
from pools import MakeMaster, PoolSettings, write_pool
from ready import RESUMED

log = logging.getLogger(__name__)

KILLS = int(os.environ.get("LATENT_LIBVIRT_KILLS", "6"))
SEED = os.environ.get("LATENT_LIBVIRT_SEED", str(random.SystemRandom().randrange(10**6)))

CAP = 2
SETTINGS = PoolSettings(max_vms=CAP, label_max_vms=3, slots=4)
JOBS = CAP + 1
"""Requests that are always open: one more than may run."""

QUICK = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "1"])])
"""


@dataclass(frozen=True)
class Moment:
    """When to kill: a random time after something has been seen from outside."""

    name: str
    seen: Callable[[Observer], bool]
    within: float


OF_A_START = (
    Moment("the master begins", lambda _: True, 2.0),
    Moment("the first sweep", lambda o: o.logged("connected to"), 0.1),
    Moment("an overlay without a domain", lambda o: bool(o.overlays() - o.domains()), 0.0),
    Moment("a domain that boots", lambda o: bool(o.domains()), 4.0),
)
OF_A_BUILD = (
    Moment("a resumed VM", lambda o: bool(o.domains()), 1.0),
    Moment("a worker that attaches", lambda o: o.logged("attaching from"), 0.2),
    Moment("a build", lambda o: o.logged("pinging the worker"), 1.2),
    Moment("a tear-down", lambda o: o.logged("insubstantiating worker"), 0.3),
)


SAVING = Moment("a state that is being saved", lambda o: o.saves(), 0.5)


class Observer:
    """What can be seen of one life of a master, and of what it makes, without disturbing it.

    :param connection: to the libvirt that it uses.
    """

    def __init__(self, master: BuildMaster, lab: Lab, connection: libvirt.virConnect) -> None:
        self._connection = connection
        self._volumes = lab.sandbox.directory / "storage" / STORAGE_POOL
        self._master = master
        self._before = self.leases()
        self._log = master.directory / "twistd.log"
        self._read = self._log.stat().st_size
        self._logged = ""

    def logged(self, words: str) -> bool:
        """Whether the master has logged these words in this life."""
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            self._logged += log.read()
            self._read = log.tell()
        return words in self._logged

    def overlays(self) -> set[str]:
        """Return the leases of the overlays that this life has made."""
        return self._all_overlays() - self._before

    def domains(self) -> set[str]:
        """Return the leases of the domains that this life has made."""
        return self._all_domains() - self._before

    def saves(self) -> bool:
        """Whether the memory of a VM is being saved, or has been."""
        found = (OwnedVolume.saved(path.name) for path in self._volumes.glob("*.state"))
        return any(found)

    def leases(self) -> set[str]:
        """Return the leases of everything that there is."""
        return self._all_overlays() | self._all_domains()

    def _all_overlays(self) -> set[str]:
        found = (OwnedVolume.overlay(path.name) for path in self._volumes.iterdir())
        return {overlay.vm_id for overlay in found if overlay is not None}

    def _all_domains(self) -> set[str]:
        records = (domain.record for domain in slot_domains(self._connection))
        return {record.vm_id for record in records if record is not None}

    def status(self) -> PoolStatus | None:
        """Return what the master says of itself; ``None`` while it says nothing."""
        try:
            with Client(self._master.directory) as client:
                return client.ask(StatusRequest(), PoolStatus)
        except ControlError:
            return None


class Torment:
    """One master through its many lives."""

    def __init__(self, master: BuildMaster, lab: Lab, connection: libvirt.virConnect) -> None:
        self.master = master
        self.jobs: list[int] = []
        self.phases: Counter[str] = Counter()
        self._lab = lab
        self._connection = connection
        self._left: set[str] = set()

    def live(self, moment: Moment, delay: float) -> None:
        """Start the master, kill it *delay* seconds after *moment*."""
        observer = Observer(self.master, self._lab, self._connection)
        self.master.launch()
        phases = self._until(observer, lambda: moment.seen(observer), [])
        at = time.monotonic() + delay
        phases = self._until(observer, lambda: time.monotonic() >= at, phases)
        self.master.kill()
        self._left |= observer.leases()
        self.phases.update(phases or ["no VM yet"])
        log.warning("killed %.2f s after %s; VMs: %s", delay, moment.name, phases)

    def _until(self, observer: Observer, over: Callable[[], bool], phases: list[str]) -> list[str]:
        """Watch until *over*; return the phases that the VMs were in last."""
        look_at = 0.0
        give_up_at = time.monotonic() + 300
        while not over():
            assert time.monotonic() < give_up_at
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + 0.1
                phases = self._look(observer, phases)
            time.sleep(0.003)
        return phases

    def _look(self, observer: Observer, phases: list[str]) -> list[str]:
        status = observer.status()
        if status is None:
            return phases
        self._top_up()
        if status.hosts[0].usable:
            # At once, unless a domain that a killed master asked for has come after the sweep.
            wait_for("what was left to go", lambda: not self._left & observer.leases())
        return [lease.phase for lease in status.leases]

    def _top_up(self) -> None:
        """Keep as many requests open as there should be."""
        if not self.master.serves():
            return
        open_requests = self.master.get("buildrequests?complete=false")
        self.jobs += [self.master.force() for _ in range(JOBS - len(open_requests))]


@contextmanager
def tormented(master: BuildMaster, lab: Lab) -> Iterator[Torment]:
    """Give a master to be killed, for the length of a ``with`` block."""
    with lab.connection() as connection:
        yield Torment(master, lab, connection)


def length_of_life(master: BuildMaster) -> float:
    """Return how many seconds pass on this machine from a master's launch to its jobs' results."""
    master.stop()
    began = time.monotonic()
    master.start()
    jobs = [master.force() for _ in range(CAP)]
    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS"] * CAP
    master.kill()
    return time.monotonic() - began


def moments(
    rng: random.Random, life: float, wanted: Sequence[Moment]
) -> Iterator[tuple[Moment, float]]:
    """Give half of *KILLS* moments: each second one in a phase that is sought, others anywhere."""
    anywhere = Moment("the launch", lambda _: True, life)
    for number in range(KILLS // 2):
        moment = anywhere if number % 2 else wanted[number // 2 % len(wanted)]
        yield moment, rng.uniform(0, moment.within)


def test_a_master_killed_at_random_moments_leaks_nothing_and_loses_no_request(
    lab: Lab, make_master: MakeMaster
) -> None:
    torment(make_master(QUICK, settings=SETTINGS), lab, OF_A_START)


def test_a_master_killed_at_random_moments_of_vms_that_are_resumed_leaks_nothing_either(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    settings = replace(RESUMED, max_vms=CAP, label_max_vms=CAP + 1)
    torment(make_ready_master(QUICK, settings=settings), ready_lab, OF_A_BUILD)


def torment(master: BuildMaster, lab: Lab, wanted: Sequence[Moment]) -> None:
    """Kill a master again and again; see that nothing is lost and nothing left."""
    life = length_of_life(master)
    log.warning("LATENT_LIBVIRT_SEED=%s; a life takes %.1f s", SEED, life)
    with tormented(master, lab) as torment, lab.watching() as seen:
        for moment, delay in moments(random.Random(SEED), life, wanted):
            torment.live(moment, delay)
        master.start()
        results = Counter(map(master.wait_for_result, torment.jobs))
        wait_for("everything to be freed", lambda: not lab.leftovers())

    log.warning("%d kills; phases of VMs then: %s", KILLS // 2, dict(torment.phases))
    assert results == {"SUCCESS": len(torment.jobs)}
    assert max(len(sample.domains) for sample in seen) <= CAP


def test_a_master_killed_while_it_saves_leaves_no_state_that_is_not_whole(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(QUICK, settings=replace(SETTINGS, start="resume"))
    rng = random.Random(SEED)
    with tormented(master, lab) as torment, lab.watching() as seen:
        master.stop()
        for _ in range(max(1, KILLS // 5)):
            lab.delete_saved()
            torment.live(SAVING, rng.uniform(0, SAVING.within))
        master.start()
        results = Counter(map(master.wait_for_result, torment.jobs))
        wait_for("all that is saved to be on record", lambda: _all_is_on_record(master, lab))

    assert results == {"SUCCESS": len(torment.jobs)}
    assert max(len(sample.domains) for sample in seen) <= CAP
    write_pool(master.directory, lab.uri, SETTINGS)
    wait_for("what is saved to go", lambda: not lab.saved() and not lab.leftovers())


def _all_is_on_record(master: BuildMaster, lab: Lab) -> bool:
    (host,) = status(master)["hosts"]
    names = {OwnedVolume.saved(volume) for volume in lab.saved()}
    return len(host["saved"]) == len(names) > 0 and not lab.domains()
