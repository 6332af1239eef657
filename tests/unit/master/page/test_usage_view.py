# SPDX-License-Identifier: GPL-2.0-only
"""What the page shows of usage: sums for all who look, and advice on the labels of all pools."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import statuses
from latent_libvirt.control.messages import UsageRequest
from latent_libvirt.master.page.rows import rows
from latent_libvirt.master.page.usage_view import KEPT_FOR, MOST, UsageView
from latent_libvirt.master.usage import sums
from latent_libvirt.status.pool import PoolStatus
from latent_libvirt.status.usage import UsageReport, UsageSum
from pages import PageOnPaper, PaperMaster, published

DAY = 86400.0


def a_sum(name: str) -> UsageSum:
    return UsageSum(name, 1, 2.0, 3.0, 4.0, 5.0, 6, 7, 8, 9, 10)


class Sums:
    """Sums that take until the test has them ready: a database answers in its time.

    :ivar asked: what each sum was asked for, with the sizes of labels.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[UsageRequest, sums.Sizes]] = []
        self.report = UsageReport((), ())
        self.waits: Deferred[None] | None = None

    async def __call__(
        self, _master: object, sizes: sums.Sizes, request: UsageRequest
    ) -> UsageReport:
        self.asked.append((request, sizes))
        if self.waits is not None:
            await self.waits
        return self.report


@pytest.fixture
def summed(monkeypatch: pytest.MonkeyPatch) -> Sums:
    """Give the sums that the page gets."""
    found = Sums()
    monkeypatch.setattr(sums, "summed", found)
    return found


def viewed(view: UsageView, by: str = "builder", days: str = "30") -> list[dict[str, Any]]:
    """Return what a page gets; nothing until it does."""
    found: list[dict[str, Any]] = []
    Deferred.fromCoroutine(view.document(by, days)).addCallback(found.append)
    return found


def of_paper() -> tuple[UsageView, Clock]:
    master = PaperMaster(1)
    master.reactor.advance(100 * DAY)
    return UsageView(master, PageOnPaper(master).board), master.reactor


def test_a_sum_is_made_once_for_all_who_look_within_a_minute(summed: Sums) -> None:
    view, clock = of_paper()
    summed.waits = Deferred()

    first, second = viewed(view), viewed(view)
    assert (first, second) == ([], [])
    summed.waits.callback(None)
    assert first == second == [{"sums": [], "left_out": 0, "advice": ()}]
    assert len(summed.asked) == 1

    viewed(view, by="label")
    clock.advance(KEPT_FOR)
    assert viewed(view)
    assert [request.by for request, _sizes in summed.asked] == ["builder", "label", "builder"]


def test_a_page_may_ask_for_what_is_offered_and_nothing_else(summed: Sums) -> None:
    view, clock = of_paper()

    for by, days in (("host", "1"), ("label", "7"), ("sql", "-1"), ("", "9" * 99)):
        viewed(view, by, days)

    since = [clock.seconds() - days * DAY for days in (1, 7, 30)]
    expected = list(zip(("host", "label", "builder"), since, strict=True))
    assert [(request.by, request.since) for request, _sizes in summed.asked] == expected


def test_the_largest_sums_are_shown_and_the_others_are_counted(summed: Sums) -> None:
    view, _clock = of_paper()
    summed.report = UsageReport(tuple(a_sum(str(n)) for n in range(MOST + 3)), ("too large",))

    (document,) = viewed(view)

    assert [each["name"] for each in document["sums"]] == [str(n) for n in range(MOST)]
    assert (document["left_out"], document["advice"]) == (3, ("too large",))


def test_advice_is_on_labels_whose_size_all_pools_agree_on(summed: Sums) -> None:
    master = PaperMaster(1)
    pools = [
        statuses.pool(labels=(statuses.label("one", vcpus=4, memory=8), statuses.label("two"))),
        statuses.pool(labels=(statuses.label("one", vcpus=2, memory=8), statuses.label("three"))),
    ]
    for number, status in enumerate(pools, 1):
        published(master.other(number), _shows(status))
    page = PageOnPaper(master)
    page.open()

    viewed(UsageView(master, page.board))

    ((_request, sizes),) = summed.asked
    assert sizes == {"two": (1, 2**30), "three": (1, 2**30)}


def _shows(status: PoolStatus) -> Any:
    return lambda: rows(status, 0.0)
