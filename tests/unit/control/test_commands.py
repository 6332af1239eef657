# SPDX-License-Identifier: GPL-2.0-only
"""Which host or label an operator means."""

from __future__ import annotations

from typing import Literal

import pytest
import pytest_twisted

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.commands import answer, find
from latent_libvirt.control.messages import ControlError, UndrainRequest
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.status.names import Target
from paper_pool import PaperPool

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


class Pool:
    """A pool with a host and a label of one name, of which the file drains the label."""

    def __init__(self) -> None:
        sections = CONFIG.model_dump(mode="json", exclude_none=True)
        sections["labels"]["same"]["drain"] = True
        self.undrained: list[Target] = []
        self.operations = Operations(
            PaperPool(PoolConfig.model_validate(sections)),
            facts=lambda: Facts("host:/master", "", 1, 0.0),
            undrained=self.undrained.append,
        )


@pytest_twisted.ensureDeferred
async def test_what_the_file_drains_no_command_undrains() -> None:
    pool = Pool()

    with pytest.raises(ControlError) as caught:
        await answer(pool.operations, UndrainRequest("same", "label"))

    assert caught.value.brief == "label same is drained by the pool's YAML file"
    assert caught.value.resolution == "Remove `drain: true` from labels.same and save the file."
    assert pool.undrained == []


@pytest_twisted.ensureDeferred
async def test_a_drain_by_the_file_keeps_no_other_of_that_name_drained() -> None:
    pool = Pool()

    answered = await answer(pool.operations, UndrainRequest("same", "host"))

    assert answered == Target("host", "same")
    assert pool.undrained == [Target("host", "same")]
