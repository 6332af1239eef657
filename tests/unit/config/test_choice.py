# SPDX-License-Identifier: GPL-2.0-only
"""Sizes that builds may choose: what the file may say, and what a property may be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import LabelConfig, PoolConfig
from latent_libvirt.config.hardware.choice import chosen_size, is_allowed, least_size, most_size
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.errors import ConfigurationError

LABEL = LabelConfig.model_validate(
    {
        "image": "i",
        "vcpus": {"min": 1, "max": 8, "default": 2},
        "memory": {"min": "512MiB", "max": "8GiB", "default": "1GiB"},
    }
)
PLAIN = LabelConfig.model_validate({"image": "i", "vcpus": 3, "memory": "1GiB"})


def test_a_label_with_bounds_has_its_defaults_for_all_else() -> None:
    assert (LABEL.vcpus, LABEL.memory) == (2, GIB)
    assert (least_size(LABEL), most_size(LABEL)) == ((1, 512 * MIB), (8, 8 * GIB))
    assert least_size(PLAIN) == most_size(PLAIN) == (3, GIB)


@pytest.mark.parametrize(
    ("properties", "size"),
    [
        ({}, (2, GIB)),
        ({"vcpus": 8}, (8, GIB)),
        ({"vcpus": "1", "memory_mib": "8192"}, (1, 8 * GIB)),
        ({"memory_mib": 513, "vcpus": ""}, (2, 513 * MIB)),
    ],
)
def test_a_build_chooses_by_a_number_within_the_bounds(
    properties: dict[str, object], size: tuple[int, int]
) -> None:
    assert chosen_size("one", LABEL, properties) == size
    assert chosen_size("one", PLAIN, properties) is None


@pytest.mark.parametrize(
    "properties",
    [
        {"vcpus": value}
        for value in (
            0,
            9,
            -1,
            2.0,
            True,
            " ",
            "2 ",
            "+2",
            "0x2",
            "²",
            "9" * 40,
            [2],
            {"a": 1},
            "<",
        )
    ]
    + [{"memory_mib": value} for value in (511, 8193, "1GiB", "</memory>", 10**30)],
)
def test_anything_else_is_refused_with_the_bounds(properties: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        chosen_size("one", LABEL, properties)

    error = refused.value
    assert "label 'one' lets builds choose " in error.brief
    assert len(error.brief) < 200
    bounds = "1 to 8" if "vcpus" in properties else "512 to 8192"
    assert f"whole number from {bounds}, or leave it out for the" in str(error.resolution)


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(anything, anything)
def test_no_property_leads_out_of_the_bounds(vcpus: object, memory: object) -> None:
    try:
        size = chosen_size("one", LABEL, {"vcpus": vcpus, "memory_mib": memory})
    except ConfigurationError:
        return
    assert size is not None
    assert is_allowed(LABEL, *size)
    assert {type(part) for part in size} == {int}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("vcpus: {min: 4, max: 2, default: 3}", "labels.debian-12.vcpus.max: it is less than"),
        ("vcpus: {min: 1, max: 2, default: 3}", "labels.debian-12.vcpus.default: it is out of"),
        ("vcpus: {min: 1, max: 2}", "labels.debian-12.vcpus.default: missing"),
        (
            "vcpus: {min: 1, max: 2, default: 1, step: 1}",
            "labels.debian-12.vcpus.step: unknown key; known keys: 'min', 'max', 'default'",
        ),
        ("vcpus: {min: 0, max: 2, default: 1}", "labels.debian-12.vcpus.min: "),
        ("vcpus: {min: 1, max: 2.5, default: 1}", "labels.debian-12.vcpus.max: "),
        ("memory: {min: 1GiB, max: 2, default: 1GiB}", "memory.max: the size 2 has no unit"),
        ("memory: {min: 1MiB, max: 2GiB, default: 1GiB}", "memory.min: 1MiB of memory is too"),
        ("memory: {min: 2GiB, max: 1GiB, default: 1GiB}", "memory.max: it is less than"),
    ],
)
def test_bounds_that_cannot_be_are_refused_where_they_stand(
    value: str, problem: str, problem_with: Callable[[str, str], str]
) -> None:
    assert problem in problem_with("memory: 1GiB", value)


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (
            "vcpus: {minimum: 1, max: 2, default: 1}",
            ["min: missing; add `min: 1`", "minimum: unknown key; did you mean 'min'?"],
        ),
        (
            "memory: {min: 1GiB, maximum: 2GiB, default: 1GiB}",
            ["max: missing; add `max: 16GiB`", "maximum: unknown key; did you mean 'max'?"],
        ),
    ],
)
def test_a_slip_in_the_name_of_a_bound_is_answered_with_the_name(
    value: str, problems: list[str], good: str, problems_of: Callable[[str], list[str]]
) -> None:
    found = problems_of(good.replace("memory: 1GiB", value))

    assert [problem.rpartition(f".{value.partition(':')[0]}.")[2] for problem in found] == problems


def test_a_size_that_no_host_could_give_is_refused(
    good: str, problems_of: Callable[[str], list[str]]
) -> None:
    text = good.replace("slots: 4", "slots: 4\n    vcpus: 4").replace(
        "slots: 2", "slots: 2\n    vcpus: 6"
    )
    text = text.replace("memory: 1GiB", "vcpus: {min: 1, max: 8, default: 2}")

    (problem,) = problems_of(text)

    assert "labels.debian-12.vcpus: no host can give a VM 8 vCPUs" in problem


def test_a_change_of_the_bounds_alone_is_a_change(
    good: str, load_text: Callable[[str], PoolConfig]
) -> None:
    def with_most(most: int) -> PoolConfig:
        return load_text(
            good.replace("memory: 1GiB", f"vcpus: {{min: 1, max: {most}, default: 2}}")
        )

    assert with_most(4) == with_most(4)
    assert with_most(4) != with_most(5)
    assert with_most(4).labels["debian-12"].model_copy(update={"vcpus": 3}).choice
