# SPDX-License-Identifier: GPL-2.0-only
"""Which host or label an operator means."""

from __future__ import annotations

from typing import Literal

import pytest

from latent_libvirt.capacity import Target
from latent_libvirt.config import PoolConfig
from latent_libvirt.control.commands import find
from latent_libvirt.control.messages import ControlError

CONFIG = PoolConfig.model_validate(
    {
        "master": {"max_vms": 1},
        "hosts": {
            "alpha": {"uri": "qemu:///system", "slots": 1, "storage_pool": "builds"},
            "same": {"uri": "qemu+ssh://same/system", "slots": 1, "storage_pool": "builds"},
        },
        "labels": {"debian-12": {"image": "debian-12"}, "same": {"image": "debian-12"}},
    }
)


def test_a_name_may_be_a_host_s_or_a_label_s() -> None:
    assert find(CONFIG, "alpha", None) == Target("host", "alpha")
    assert find(CONFIG, "debian-12", None) == Target("label", "debian-12")


def test_a_name_of_both_has_to_be_told_apart() -> None:
    with pytest.raises(ControlError) as caught:
        find(CONFIG, "same", None)

    assert caught.value.resolution == "Say which: --host or --label."
    assert find(CONFIG, "same", "host") == Target("host", "same")
    assert find(CONFIG, "same", "label") == Target("label", "same")


@pytest.mark.parametrize(
    ("name", "kind", "brief", "details"),
    [
        ("alhpa", "host", "there is no host called 'alhpa'", "did you mean 'alpha'?"),
        ("alpha", "label", "there is no label called 'alpha'", "labels: 'debian-12', 'same'"),
        (
            "debain-12",
            None,
            "there is no host or label called 'debain-12'",
            "hosts: 'alpha', 'same'\ndid you mean 'debian-12'?",
        ),
    ],
)
def test_a_name_that_is_not_there_is_told_with_what_was_meant(
    name: str, kind: Literal["host", "label"] | None, brief: str, details: str
) -> None:
    with pytest.raises(ControlError) as caught:
        find(CONFIG, name, kind)

    assert (caught.value.brief, caught.value.details) == (brief, details)
