# SPDX-License-Identifier: GPL-2.0-only
"""A meter counts each thing once, whatever order its readings come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host.usage import Meter, Reading, _reading

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
