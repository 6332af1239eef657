# SPDX-License-Identifier: GPL-2.0-only
"""A label that freezes or exports VMs has to hold or freeze them first."""

from __future__ import annotations

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
