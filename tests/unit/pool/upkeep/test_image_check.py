# SPDX-License-Identifier: GPL-2.0-only
"""The check of images asks usable hosts for what is needed, and one bad answer hides no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.pool.reasons import RoomFacts
from paper_pool import PaperPool, config_of, machine_of

if TYPE_CHECKING:
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig

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
        "Publish debian-13; beta: it does not answer)"
    )


def test_why_a_job_waits_names_few_of_many_hosts_that_lack_the_image() -> None:
    hosts = tuple(f"h{number}" for number in range(9))
    pool = PaperPool(config_of(hosts=hosts, lost={"image": "debian-13"}))
    *lacking, last = pool.paper_hosts.values()
    for host in lacking:
        host.lacks = {"debian-13"}
    last.usable, last.trouble = False, "it does not answer"
    checked(pool)

    unfit, missing = pool.usable.unfit(), pool.missing_images.whys()
    facts = RoomFacts(pool.config, pool.capacity, {"h8": last.trouble}, unfit, missing=missing)
    why = facts.why_no_room("lost")

    assert why is not None
    lacks = "image debian-13 is not published. Publish debian-13"
    assert why.reason.text == (
        f"no host has room for label lost (h0: {lacks}; h1: {lacks}; h2: {lacks}; "
        "h8: it does not answer; 5 more lack its image)"
    )


def test_a_host_on_which_a_label_can_never_run_is_not_waited_for() -> None:
    pool = without_image()
    alpha, beta = pool.paper_hosts.values()
    beta.lacks = set()
    why_unfit = lambda *_, **__: "the VM is too large"  # noqa: E731
    beta.machine_room = cast("Any", SimpleNamespace(why_unfit=why_unfit))
    checked(pool)

    assert pool.capacity.room("lost"), "it is tried on alpha, and fails with what is missing"
    assert pool.missing_images.is_everywhere("lost")

    alpha.lacks = set()
    checked(pool)
    assert not pool.missing_images.is_everywhere("lost")


def many_hosts() -> PaperPool:
    """Return a pool on 20 hosts that lack the image of both its labels."""
    pool = PaperPool(config_of(hosts=tuple(f"h{host}" for host in range(20)), one={}, two={}))
    for host in pool.paper_hosts.values():
        host.lacks = {"debian-12"}
    return pool


def test_builds_look_for_room_once_for_all_hosts_that_have_answered_together() -> None:
    pool = many_hosts()
    wakes = pool.wakes

    checked(pool)
    assert pool.wakes == wakes + 1

    checked(pool)
    assert pool.wakes == wakes + 1, "nothing has changed"
    assert not pool.clock.getDelayedCalls()


def test_a_host_that_answers_late_keeps_no_other_from_its_jobs() -> None:
    pool = without_image(max_vms=9)
    alpha, beta = pool.paper_hosts.values()
    beta.lacks = set()
    checked(pool)
    alpha.lacks, beta.thinks = set(), Deferred()

    checking = Deferred.fromCoroutine(pool.image_check.run())
    pool.clock.advance(0)

    assert not checking.called
    assert {pool.give("lost", name).vm.host.name for name in "abc"} == {"alpha", "beta"}
    beta.thinks.callback(None)
    assert checking.called


def test_the_configuration_is_asked_once_for_each_label_however_many_hosts_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    image_for = PoolConfig.image_for

    def counted(config: PoolConfig, label: LabelConfig) -> ImageConfig:
        asked.append(label.image)
        return image_for(config, label)

    pool = many_hosts()
    checked(pool)
    pool.missing_images.note("one", "h0", image_for(pool.config, pool.config.labels["one"]), "")
    monkeypatch.setattr(PoolConfig, "image_for", counted)

    assert len(pool.missing_images.whys()["one"]) == 19
    assert len(asked) == 2


class CanaryPool(PaperPool):
    """A pool with a canary, whose version in use is `v1`; hosts may have a newer one.

    :ivar faults: what is wrong with the newest version, by host.
    """

    def __init__(self) -> None:
        host = {"storage_pool": "default", "slots": 2}
        config = {
            "master": {"max_vms": 9},
            "hosts": {
                name: {**host, "uri": f"qemu+ssh://{name}/system"} for name in ("alpha", "beta")
            },
            "images": {"debian-12": {"canary": "10%"}},
            "labels": {"one": {"image": "debian-12", "spares": 1, "start": "boot"}},
        }
        super().__init__(PoolConfig.model_validate(config))
        self.faults: dict[str, ConfigurationError] = {}
        for each in self.paper_hosts.values():
            each.newest = "v1"
        checked(self)
        assert self.canaries.stable("one") == "v1"

    def newest_is(self, monkeypatch: pytest.MonkeyPatch, *hosts: str, damaged: bool) -> None:
        """Publish a version on *hosts* that is damaged, or for UEFI only."""
        error = ConfigurationError("image debian-12 v2 has lost its disk", resolution="Publish it.")
        for host in map(self.paper_hosts.__getitem__, hosts):

            async def answers(wanted: Mapping[str, Any], host: Any = host) -> Any:
                found = {key: host._image(image) for key, image in wanted.items()}
                found["one"] = error if damaged else replace(found["one"], firmware="uefi")
                return found

            monkeypatch.setattr(host, "newest_images", answers)


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "for another firmware"])
def test_a_bad_new_version_takes_no_host_from_a_label_whose_version_in_use_is_there(
    monkeypatch: pytest.MonkeyPatch, *, damaged: bool
) -> None:
    pool = CanaryPool()
    pool.newest_is(monkeypatch, "alpha", "beta", damaged=damaged)

    said = checked(pool)

    assert len(said) == 2, "an operator learns of it"
    assert [line for line in checked(pool) if "debian-12" in line and "host" in line] == []
    assert pool.missing_images.whys() == {}
    pool.tidy()
    assert len(list(pool.spares)) == 1


def test_a_bad_new_version_counts_where_the_version_in_use_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = CanaryPool()
    pool.newest_is(monkeypatch, "alpha", damaged=True)
    pool.paper_hosts["alpha"].lacks = {"v1"}

    checked(pool)

    assert list(pool.missing_images.whys()["one"]) == ["alpha"]


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
