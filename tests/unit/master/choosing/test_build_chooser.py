# SPDX-License-Identifier: GPL-2.0-only
"""How waiting requests are gone through; Buildbot's own chooser runs on the same fakes."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from buildbot.mq.simple import SimpleMQ
from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from latent_libvirt.master.choosing import build_chooser
from latent_libvirt.master.choosing.build_chooser import BuildChooser
from latent_libvirt.master.choosing.fair_order import FairOrder
from waiting_requests import WAITING, WORKERS, Builder, Chooser, result


class Order:
    """Whose turn it is, as the test says.

    :param requests: after how many a turn ends.
    """

    def __init__(self, requests: int = WAITING) -> None:
        self._left = requests

    def is_turn_of(self, _builder: object, _priority: int) -> bool:
        self._left -= 1
        return self._left >= 0


def Ours(builder: Any, master: Any) -> BasicBuildChooser:  # noqa: N802 - stands for a class
    return BuildChooser(builder, master, order=cast("FairOrder", Order()))


def test_when_the_last_room_is_taken_no_more_requests_are_looked_at() -> None:
    """Buildbot #3395."""
    builder = Builder(room=3)

    started = builder.start_all(builder.chooser(Ours))

    assert started == [0, 1, 2]
    assert builder.questions == 3


def test_buildbots_own_chooser_asks_all_workers_about_all_requests() -> None:
    """The day this fails, ours is not needed for that any more."""
    builder = Builder(room=3, waiting=100)

    builder.start_all(builder.chooser(BasicBuildChooser))

    assert builder.questions >= 97 * (WORKERS - 3)


def test_without_room_nothing_is_fetched_from_the_database() -> None:
    builder = Builder(room=0)

    assert builder.start_all(builder.chooser(Ours)) == []
    assert builder.fetched == 0


def _odd(_builder: Any, workers: list[Any], request: Any) -> Any:
    return workers[0] if request.id % 2 else None


@pytest.mark.parametrize(("kind", "expected"), [(Ours, [1, 3, 5]), (BasicBuildChooser, [])])
def test_a_next_worker_that_wants_none_for_a_request_holds_up_no_other(
    kind: Chooser, expected: list[int]
) -> None:
    """Buildbot #6251, #4838: upstream's chooser stops there."""
    builder = Builder(room=3, waiting=20, next_worker=_odd)

    assert builder.start_all(builder.chooser(kind)) == expected


def test_a_worker_that_refuses_a_request_is_asked_for_the_next() -> None:
    builder = Builder(room=1, waiting=3)
    builder.wants = lambda request: request.id == 2

    assert builder.start_all(builder.chooser(Ours)) == [2]


def test_the_end_of_a_builders_turn_ends_its_search() -> None:
    builder = Builder(room=WORKERS, waiting=20)
    order = cast("FairOrder", Order(requests=3))

    started = builder.start_all(builder.chooser(partial(BuildChooser, order=order)))

    assert started == [0, 1, 2]


def test_a_worker_whose_vm_idles_comes_first() -> None:
    builder = Builder(room=1)
    builder.workers[7].worker.has_idle_vm = True

    worker, _requests = result(builder.chooser(Ours).chooseNextBuild())

    assert worker is builder.workers[7]


class Distributor:
    BuildChooser: Any = BasicBuildChooser

    def __init__(self) -> None:
        self.master = SimpleNamespace(reactor=Clock(), mq=SimpleMQ())

    def maybeStartBuildsOn(self, _builders: list[str]) -> None:  # noqa: N802 - Buildbot's
        pass


def test_it_takes_the_place_of_buildbots_own_and_of_no_other() -> None:
    stock, special = Distributor(), Distributor()
    special.BuildChooser = other = object()

    order = cast("FairOrder", Order())

    build_chooser.install(stock, order)
    build_chooser.install(special, order)

    assert stock.BuildChooser.func is BuildChooser
    assert special.BuildChooser is other


def test_it_does_not_take_the_place_of_one_that_works_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock = Distributor()
    monkeypatch.setattr(build_chooser, "RELIED_ON", ("popNextBuildInAnotherWay",))

    build_chooser.install(stock, cast("FairOrder", Order()))

    assert stock.BuildChooser is BasicBuildChooser


def test_a_reconfig_while_a_builder_says_its_id_does_not_fail_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Collapser:
        """Buildbot's, with a master."""

        def __init__(self, master: Any) -> None:
            self.master = master

        def _getUnclaimedBrs(self, builderid: int) -> list[int]:  # noqa: N802 - Buildbot's
            return [builderid]

    monkeypatch.setattr(build_chooser, "BuildRequestCollapser", Collapser)
    build_chooser._look_at_no_queue_in_vain()
    asked: Deferred[int] = Deferred()
    builders = {"slow": SimpleNamespace(getBuilderId=lambda: asked)}
    collapser: Any = Collapser(SimpleNamespace(botmaster=SimpleNamespace(builders=builders)))
    found: list[Any] = []
    collapser._getUnclaimedBrs(7).addBoth(found.append)

    builders["new"] = SimpleNamespace(getBuilderId=lambda: succeed(8))
    asked.callback(6)

    assert found == [[7]]
