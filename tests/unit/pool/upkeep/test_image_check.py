# SPDX-License-Identifier: GPL-2.0-only
"""The check of images asks usable hosts for what is needed, and one bad answer hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from paper_pool import PaperPool, machine_of

PINNED = "0123456789ab"


def a_pool() -> PaperPool:
    """Return a pool with a spare of a pinned image and one of another."""
    label = {"spares": 1, "start": "boot"}
    config = {
        "master": {"max_vms": 4},
        "hosts": {"alpha": {"uri": "qemu:///system", "storage_pool": "builds", "slots": 4}},
        "images": {"pinned": {"digest": PINNED}},
        "labels": {
            "one": {"image": "pinned", **label},
            "two": {"image": "debian-12", **label},
        },
    }
    pool = PaperPool(PoolConfig.model_validate(config))
    pool.tidy()
    for spare in pool.spares:
        machine_of(spare).comes_up()
    return pool


def checked(pool: PaperPool) -> list[str]:
    """Check the images; return what is logged."""
    with capturedLogs() as events:
        assert Deferred.fromCoroutine(pool.image_check.run()).called
    return [formatEvent(event) for event in events]


def test_an_image_that_a_host_does_not_have_hides_no_other() -> None:
    pool = a_pool()
    host = pool.paper_hosts["alpha"]
    host.lacks, host.newest = {PINNED}, "newer"

    said = checked(pool)

    assert f"host alpha: host alpha has no {PINNED}" in said
    pool.tidy()
    assert [machine.record.label for machine in host.discarded] == ["two"]


def test_a_host_that_is_not_usable_is_not_asked() -> None:
    pool = a_pool()
    pool.paper_hosts["alpha"].usable = False

    checked(pool)

    assert pool.paper_hosts["alpha"].questions == []


def test_a_host_that_does_not_answer_keeps_what_it_has() -> None:
    pool = a_pool()
    pool.paper_hosts["alpha"].is_deaf = True

    assert "host alpha: host alpha does not answer" in checked(pool)
    pool.tidy()

    assert pool.paper_hosts["alpha"].discarded == []


def test_only_versions_in_use_that_there_are_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = a_pool()
    host = pool.paper_hosts["alpha"]
    asked: list[list[str]] = []
    newest_images = host.newest_images

    async def remembered(wanted: Mapping[str, Any]) -> Any:
        asked.append(sorted(wanted))
        return await newest_images(wanted)

    monkeypatch.setattr(host, "newest_images", remembered)

    checked(pool)

    assert asked == [["one", "two"]]
