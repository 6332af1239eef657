# SPDX-License-Identifier: GPL-2.0-only
"""A meter counts each thing once, whatever order its readings come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host.meters.usage import Meter, Reading, _reading, read_one

STATS = {
    "cpu.time": 5 * 10**9,
    "balloon.rss": 2048,
    "block.count": 2,
    "block.0.rd.bytes": 1,
    "block.0.wr.bytes": 10,
    "block.1.rd.bytes": 2,
    "net.count": 1,
    "net.0.rx.bytes": 7,
    "net.0.tx.bytes": 8,
}


def test_disks_and_cards_are_added_up() -> None:
    assert _reading(STATS, 3.0) == Reading(3.0, 5.0, 2 * 2**20, 3, 10, 7, 8)


def test_without_a_control_group_the_vcpus_are_added_up() -> None:
    stats = {"vcpu.maximum": 2, "vcpu.0.time": 10**9, "vcpu.1.time": 2 * 10**9}

    assert _reading(stats, 0.0).cpu == 3.0


@pytest.mark.parametrize("odd", [None, -1, 2**64 - 1, 2**63, "7", 1.5, b"7"])
def test_what_libvirt_does_not_know_counts_as_nothing(odd: object) -> None:
    for key in STATS:
        found = _reading({**STATS, "vcpu.maximum": 0, key: odd}, 3.0)

        usual = _reading(STATS, 3.0)
        for name, value in vars(found).items():
            assert 0 <= value <= getattr(usual, name)


@pytest.mark.parametrize(
    "stats",
    [{"cpu.time": 2**53}, {"vcpu.maximum": 2, "vcpu.0.time": 2**53 - 1, "vcpu.1.time": 1}],
)
def test_a_vm_that_has_long_been_busy_is_read_on(stats: dict[str, int]) -> None:
    meter = Meter()
    meter.note(_reading({**stats, "net.count": 1, "net.0.tx.bytes": 9}, 3.0))

    used = meter.used
    assert used is not None
    assert (used.cpu, used.sent) == (2**53 / 1e9, 9)


def test_nobody_has_read_a_new_meter() -> None:
    assert Meter().used is None


def test_each_build_has_what_was_used_since_the_one_before() -> None:
    meter = Meter()
    meter.note(Reading(1.0, 4.0, memory=9, written=100))
    meter.begin()
    meter.note(Reading(2.0, 5.0, memory=6, written=130))

    used = meter.used
    assert used is not None
    assert (used.cpu, used.memory, used.written) == (1.0, 6, 30)


def test_a_vm_that_goes_on_in_another_qemu_is_counted_on() -> None:
    meter = Meter()
    meter.note(Reading(1.0, 4.0, read=10))
    meter.goes_on()
    meter.note(Reading(2.0, 1.0, read=1))

    used = meter.used
    assert used is not None
    assert (used.cpu, used.read) == (5.0, 11)


def test_what_libvirt_leaves_out_of_a_reading_is_not_taken_back() -> None:
    meter = Meter()
    meter.note(Reading(1.0, 4.0, written=100, sent=5))
    meter.note(Reading(2.0, 5.0))

    used = meter.used
    assert used is not None
    assert (used.cpu, used.written, used.sent) == (5.0, 100, 5)


class Busy:
    """A connection to a host where another client has the domain for a moment.

    A fake, since no client can be made to have it just then.
    """

    def __init__(self, answers: list[dict[str, int]]) -> None:
        self.answers = answers

    def domainListGetStats(  # noqa: N802 - libvirt's
        self, domains: list[object], _statistics: int, _flags: int
    ) -> list[tuple[object, dict[str, int]]]:
        return [(domains[0], self.answers.pop(0))] if self.answers else []


def test_a_reading_without_disks_is_asked_for_again() -> None:
    partly = {"cpu.time": 4 * 10**9, "block.count": 2}
    connection = Busy([partly, STATS])

    assert read_one(connection, object(), lambda: 3.0) == _reading(STATS, 3.0)


@pytest.mark.parametrize(
    ("answers", "cpu"), [([], None), ([{"cpu.time": 10**9, "block.count": 1}] * 9, 1.0)]
)
def test_a_domain_that_stays_busy_is_asked_a_few_times(
    answers: list[dict[str, int]], cpu: float | None
) -> None:
    reading = read_one(Busy(answers), object(), lambda: 3.0)

    assert (reading and reading.cpu) == cpu


def test_the_most_cpus_are_those_of_the_busiest_time_between_two_readings() -> None:
    meter = Meter()
    for at, cpu in [(0.0, 0.0), (30.0, 60.0), (31.0, 69.0), (60.0, 70.0)]:
        meter.note(Reading(at, cpu))

    assert meter.peak_cpus == 2.0


@given(st.permutations([Reading(float(n), float(n), written=n) for n in range(5)]))
def test_readings_that_come_late_change_nothing(readings: list[Reading]) -> None:
    meter = Meter()
    for reading in readings:
        meter.note(reading)

    used = meter.used
    assert used is not None
    assert (used.cpu, used.written) == (4.0, 4)
