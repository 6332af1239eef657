# SPDX-License-Identifier: GPL-2.0-only
"""The check of images asks usable hosts for what is needed, and one bad answer hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.pool.reasons import RoomFacts
from paper_pool import PaperPool, config_of, machine_of

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


def unfit(pool: PaperPool, label: str) -> tuple[str, ...]:
    """Return what the status says of *label*."""
    facts = Facts("m", "", 1, 0.0)
    status = Operations(pool, facts=lambda: facts, undrained=lambda _: None).status()
    return next(each.unfit for each in status.labels if each.name == label)


def without_image(**label: object) -> PaperPool:
    """Return a pool on two hosts with a label whose image neither of them has."""
    pool = PaperPool(config_of(lost={"image": "debian-13", **label}, other={}))
    for host in pool.paper_hosts.values():
        host.lacks = {"debian-13"}
    return pool


def test_an_image_that_is_published_nowhere_is_said_with_the_remedy_until_it_is() -> None:
    pool = without_image()

    said = checked(pool)

    why = "image debian-13 is not published. Publish debian-13."
    assert unfit(pool, "lost") == (f"host alpha: {why}", f"host beta: {why}")
    assert unfit(pool, "other") == ()
    assert sum("image debian-13 is not published" in line for line in said) == 2
    assert checked(pool) == [], "it is logged once"

    pool.paper_hosts["alpha"].lacks = set()
    checked(pool)

    assert unfit(pool, "lost") == (f"host beta: {why}",)


def test_a_label_of_which_no_host_has_the_image_may_still_be_tried() -> None:
    pool = without_image()

    checked(pool)

    assert pool.capacity.room("lost")


def test_jobs_wait_for_a_host_that_has_their_image() -> None:
    pool = without_image(max_vms=9)
    alpha, beta = pool.paper_hosts.values()
    beta.lacks = set()
    checked(pool)

    assert [pool.give("lost", name).vm.host.name for name in "ab"] == ["beta", "beta"]
    assert not pool.capacity.room("lost")
    assert pool.give("other", "c").vm.host.name == "alpha"

    alpha.lacks = set()
    wakes = pool.wakes
    checked(pool)
    assert pool.capacity.room("lost")
    assert pool.wakes > wakes


def test_why_a_job_waits_names_the_image_that_one_host_lacks_and_what_is_with_the_others() -> None:
    pool = without_image()
    beta = pool.paper_hosts["beta"]
    beta.usable, beta.trouble = False, "it does not answer"
    checked(pool)

    facts = RoomFacts(pool.config, pool.capacity, {"beta": beta.trouble}, pool.usable.unfit())
    why = facts.why_no_room("lost")

    assert why is not None
    assert why.reason.text == (
        "no host has room for label lost (alpha: image debian-13 is not published. "
        "Publish debian-13.; beta: it does not answer)"
    )


def test_jobs_wait_for_a_host_that_may_have_their_image_and_is_out_of_reach() -> None:
    pool = without_image()
    pool.paper_hosts["beta"].usable = False

    checked(pool)

    assert not pool.capacity.room("lost")
    assert pool.capacity.room("other")


def test_an_image_that_the_label_cannot_boot_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"firmware": "uefi"}, bios={}))
    host = pool.paper_hosts["alpha"]
    newest_images = host.newest_images

    async def for_uefi(wanted: Mapping[str, Any]) -> Any:
        found = await newest_images(wanted)
        return {
            key: replace(each, firmware="uefi")
            for key, each in found.items()
            if isinstance(each, BaseImage)
        }

    monkeypatch.setattr(host, "newest_images", for_uefi)

    said = checked(pool)

    (why,) = unfit(pool, "bios")
    assert why.startswith("host alpha: image debian-12 boots by UEFI only, and its label has")
    assert unfit(pool, "one") == ()
    assert sum("boots by UEFI only" in line for line in said) == 1


def test_spares_of_an_image_that_no_host_has_start_as_soon_as_it_comes() -> None:
    pool = without_image(spares=1)
    for _ in range(5):
        pool.tidy()
        for spare in pool.spares:
            machine_of(spare).fails(ConfigurationError("image debian-13 is not published"))
        pool.clock.advance(1)
    assert len(pool.history.failures) == 1
    checked(pool)
    pool.clock.advance(10_000)
    pool.tidy()
    assert list(pool.spares) == []

    pool.paper_hosts["beta"].lacks = set()
    checked(pool)
    pool.tidy()

    assert [spare.host.name for spare in pool.spares] == ["beta"]


def test_what_was_missing_when_a_host_was_last_asked_is_said_while_it_cannot_be_asked() -> None:
    pool = without_image()
    checked(pool)
    pool.paper_hosts["alpha"].is_deaf = True

    checked(pool)

    assert len(unfit(pool, "lost")) == 2


def test_what_was_missing_of_another_image_says_nothing_of_the_one_that_a_label_has_now() -> None:
    pool = without_image()
    checked(pool)

    pool.configure(config_of(lost={"image": "debian-12"}, other={}))

    assert unfit(pool, "lost") == ()


def test_a_label_that_has_left_a_host_says_nothing_of_its_image_there() -> None:
    pool = without_image()
    checked(pool)

    pool.configure(config_of(lost={"image": "debian-13", "hosts": ["beta"]}, other={}))

    assert [each.partition(":")[0] for each in unfit(pool, "lost")] == ["host beta"]


def test_hosts_are_looked_at_as_soon_as_they_are_usable_and_when_labels_change() -> None:
    pool = without_image()
    alpha, beta = pool.paper_hosts.values()
    beta.usable = False

    def looks() -> tuple[int, int]:
        assert Deferred.fromCoroutine(pool.image_check.look()).called
        return len(alpha.questions), len(beta.questions)

    assert looks() == (1, 0)
    beta.usable = True
    assert looks() == (1, 1)
    assert looks() == (1, 1)
    pool.configure(config_of(lost={"image": "debian-13"}, other={}, third={}))
    assert looks() == (2, 2)
    alpha.is_deaf = True
    pool.configure(config_of(lost={"image": "debian-13"}))
    assert looks() == (2, 3)
    alpha.is_deaf = False
    assert looks() == (2, 3), "one that does not answer is asked again with the others"
