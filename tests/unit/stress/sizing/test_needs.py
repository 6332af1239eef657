# SPDX-License-Identifier: GPL-2.0-only
"""Needs of a load: more load never needs less, and units and bounds are right."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.sizing.costs import SHIPPED, Costs, PartCosts
from latent_libvirt.stress.sizing.demand import slot_time, traffic
from latent_libvirt.stress.sizing.models import Load
from latent_libvirt.stress.sizing.needs import Needs, needs
from latent_libvirt.stress.sizing.resources import Cores, Resource, first_full
from latent_libvirt.stress.sizing.words import sentences

ROUND = Costs(
    {
        "scheduler": PartCosts(masters=0.1, builds=0.1, reads=0.01),
        "interface": PartCosts(masters=0.1, builds=0.5),
        "database": PartCosts(builds=0.3),
        "router": PartCosts(builds=0.01),
        "harness": PartCosts(),
    },
    source="a test",
)
"""Costs with which a head can reckon."""

LOADS = st.fixed_dictionaries(
    {
        "jobs_per_hour": st.floats(1, 5000),
        "job_time": st.integers(1, 3600).map("{}s".format),
        "lines": st.floats(0, 1e5),
        "readers": st.integers(0, 1000),
        "peak": st.floats(1, 5),
        "vm_vcpus": st.integers(1, 8),
    }
)

GROWING: dict[str, Any] = {
    "jobs_per_hour": lambda value: value * 1.5,
    "job_time": lambda value: f"{2 * int(value[:-1])}s",
    "lines": lambda value: 2 * value + 10,
    "readers": lambda value: value + 50,
    "peak": lambda value: value + 0.5,
    "vm_vcpus": lambda value: value + 1,
}


def load(**keys: Any) -> Load:
    return Load.model_validate({"jobs_per_hour": 3600, "job_time": "10s", "peak": 1} | keys)


def amounts(found: Needs) -> list[float]:
    """Return what a load needs, as numbers that only grow with it."""
    masters = math.inf if found.interface_masters is None else found.interface_masters
    slots = found.slots
    # Beyond the last useful master, the use of the database is that of so many masters.
    database = math.inf if found.interface_masters is None else found.database_cores
    return [masters, database, slots.count, slots.busy, slots.hosts, found.single_master.used]


@given(LOADS, st.sampled_from(sorted(GROWING)))
def test_more_load_never_needs_less(keys: dict[str, Any], grows: str) -> None:
    grown = keys | {grows: GROWING[grows](keys[grows])}

    less, more = (amounts(needs(Load.model_validate(each), SHIPPED)) for each in (keys, grown))

    assert all(a <= b for a, b in zip(less, more, strict=True)), (less, more)


@given(LOADS)
def test_every_load_has_an_answer_in_words_and_finite_numbers(keys: dict[str, Any]) -> None:
    given_load = Load.model_validate(keys)
    found = needs(given_load, SHIPPED)

    assert all(sentence.endswith(".") for sentence in sentences(given_load, found))
    assert all(cores >= 0 for cores in found.cores.values())
    assert found.slots.wait is not None
    assert found.slots.wait <= given_load.wait
    assert found.slots.hosts * found.slots.of_a_host >= found.slots.count


@given(LOADS)
def test_more_masters_carry_more(keys: dict[str, Any]) -> None:
    carried = list(needs(Load.model_validate(keys), SHIPPED).carried.values())

    assert carried == sorted(carried)


def test_a_master_is_added_when_the_others_would_be_too_busy() -> None:
    # Three builds a second take 1.5 cores; each master may use 0.6, of which it needs 0.1 anyway.
    found = needs(load(jobs_per_hour=3 * 3600), ROUND)

    assert found.interface_masters == 3
    assert found.carried[3] == pytest.approx(3 * 3600)
    assert found.cores["interface"] == pytest.approx(0.6)
    assert found.database_cores == 2  # 0.9 of 0.7 each


def test_a_single_master_is_enough_while_it_may_do_all() -> None:
    # A tenth for the scheduler's part, one for the rest, and 0.6 for each build in a second.
    small, large = (load(jobs_per_hour=jobs, readers=0) for jobs in (1800, 2880))

    assert (
        "A single master is enough, up to 2,400 jobs an hour."
        in sentences(small, needs(small, ROUND))[0]
    )
    assert sentences(large, needs(large, ROUND))[0].startswith("1 interface master and a scheduler")


def test_slots_are_those_of_littles_law() -> None:
    found = needs(load(job_time="10m"), ROUND)

    assert found.slots.busy == pytest.approx(slot_time(600, "resumed"))
    assert found.slots.count > found.slots.busy


def test_slots_that_there_are_have_the_wait_that_follows() -> None:
    few, some, many = (needs(load(slots=slots), ROUND) for slots in (11, 15, 30))

    assert few.slots.wait is None
    assert sentences(load(), few)[-1].startswith("These slots are too few")
    assert some.slots.wait is not None
    assert some.slots.wait > 0
    assert many.slots.wait == 0


def test_a_mass_rebuild_takes_what_the_load_leaves() -> None:
    # The interface master uses 0.6 of its core; the rest is enough for 0.8 builds in a second.
    some, none = load(rebuild=600, slots=100), load(rebuild=600, slots=11)

    found = needs(some, ROUND)

    assert found.rebuild == pytest.approx(600 / 0.8 + slot_time(10, "resumed"))
    assert sentences(some, found)[-1].startswith("A mass rebuild of 600 jobs takes 13 minutes")
    assert "does not end" in sentences(none, needs(none, ROUND))[-1]


def test_a_peak_is_as_much_as_more_jobs() -> None:
    assert traffic(load(peak=2)) == traffic(load(jobs_per_hour=7200))


def test_a_host_has_as_many_vms_as_its_scarcest_resource_allows() -> None:
    host: dict[str, Any] = {"host_vcpus": 8, "host_memory": "64GiB", "host_disk": "1TiB"}

    assert load(**host).slots_of_a_host == 8
    assert load(**host, vcpu_overcommit=2.0).slots_of_a_host == 16
    assert load(**host, vm_memory="32704MiB").slots_of_a_host == 2
    assert load(**host, vm_disk="512GiB").slots_of_a_host == 2


def test_news_of_all_builds_limit_the_number_of_masters() -> None:
    parts = dict(ROUND.parts) | {"interface": PartCosts(builds=0.5, news=0.1)}
    costs = Costs(parts, source="a test")

    found = needs(load(jobs_per_hour=7 * 3600), costs)

    assert found.interface_masters is None
    assert max(found.carried.values()) < 6 * 3600
    assert sentences(load(), found)[0].startswith("No number of interface masters")


def test_processors_that_all_share_are_a_resource() -> None:
    names = [resource.name for resource in needs(load(cores=2), ROUND).resources]

    assert names[-1] == "processors"
    assert "processors" not in [resource.name for resource in needs(load(), ROUND).resources]


def test_the_resource_that_is_full_first_has_the_least_room() -> None:
    roomy, scarce = Resource("a", 0.0, 1.0, 9.0), Resource("b", 0.5, 1.0, 1.5)

    assert first_full([roomy, scarce]) == scarce
    assert scarce.carries == 2.0
    assert Resource("c", 2.0, 3.0, 1.0).carries == 0.0
    assert Resource("d", 0.0, 0.0, 1.0).carries == math.inf


def test_readers_remain_without_builds() -> None:
    cores = Cores(ROUND, traffic(load(readers=10, read_every=1.0)))

    assert cores.idle.of("scheduler", 1) == pytest.approx(0.2)


def test_needs_are_plain_data() -> None:
    assert asdict(needs(load(), ROUND))["slots"]["hosts"] == 1


def test_a_machine_that_is_too_small_is_said_first() -> None:
    asked = load(jobs_per_hour=3600, cores=1)

    said = sentences(asked, needs(asked, ROUND))

    assert said[0].startswith("This load is too much for the one machine")
    assert "the processors of the one machine are full already at" in " ".join(said).lower()
    assert not any("at most" in each for each in said)


def test_nobody_is_promised_a_wait_that_no_master_keeps() -> None:
    asked = load(jobs_per_hour=3_600_000, job_time="1s")

    said = " ".join(sentences(asked, needs(asked, SHIPPED)))

    assert "No number of interface masters carries this load" in said
    assert "Jobs wait longer and longer, since" in said


def test_readers_who_are_too_many_alone_are_said_to_be() -> None:
    asked = load(readers=10_000, read_every=0.1)

    assert "the scheduler master is full already without a job" in " ".join(
        sentences(asked, needs(asked, ROUND))
    ).replace("The", "the")
