# SPDX-License-Identifier: GPL-2.0-only
"""A label that freezes or exports VMs has to hold or freeze them first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from paper_pool import config_of


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"freeze": True}, "no VM of the label is held"),
        ({"export": True}, "no VM of the label is frozen"),
        ({"hold_on_failure": "1h", "export": True}, "no VM of the label is frozen"),
    ],
)
def test_what_would_have_no_effect_is_refused(label: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config_of(one=label)


def test_all_three_together_are_accepted() -> None:
    label = config_of(one={"hold_on_failure": "1h", "freeze": True, "export": True}).labels["one"]

    assert (label.freeze, label.export) == (True, True)


@pytest.mark.parametrize(
    ("memory", "space", "is_fine"),
    [
        ("memory: 16GiB", "", True),
        ("memory: 32GiB", "", False),
        ("memory: 32GiB", "frozen_space: 40GiB", True),
        ("memory: 2GiB", "frozen_space: 1GiB", True),
        ("memory: {min: 1GiB, max: 64GiB, default: 32GiB}", "", True),
        ("memory: {min: 24GiB, max: 64GiB, default: 32GiB}", "", False),
    ],
)
def test_a_vm_that_no_host_has_the_space_to_freeze_is_refused(
    memory: str,
    space: str,
    is_fine: bool,  # noqa: FBT001
    good: str,
    problems_of: Callable[[str], list[str]],
) -> None:
    keys = f"{memory}\n    hold_on_failure: 1h\n    freeze: true"
    text = good.replace("memory: 1GiB", keys).replace("slots: 2", f"slots: 2\n    {space}")

    problems = problems_of(text)

    assert bool(problems) != is_fine
    assert all("labels.debian-12.freeze: a VM with" in each for each in problems)
    assert all("raise their `frozen_space`, or remove" in each for each in problems)
