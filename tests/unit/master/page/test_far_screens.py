# SPDX-License-Identifier: GPL-2.0-only
"""Screens of VMs of another master: asked for once, of a bounded size, and read by nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.pictures import EVERY
from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains.screen import MOST
from latent_libvirt.master.page import far_screen, near_screen
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.audit import LOOK, Looks
from latent_libvirt.master.page.far_screen import ScreenServer
from latent_libvirt.master.page.near_screen import AT_A_TIME, MOST_ASKED, TIMEOUT, NearScreens
from pages import PaperMaster

PICTURE = b"\x89PNG picture"


class Operations:
    """The operations of a pool whose pictures come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.coming: list[Deferred[bytes]] = []

    async def picture(self, name: str) -> bytes:
        self.asked.append(name)
        if name == "nothing":
            raise ControlError("there is no VM called 'nothing'")
        self.coming.append(Deferred())
        return await self.coming[-1]


class Look:
    """What became of asking for a picture."""

    def __init__(
        self, near: NearScreens, vm: str = "aa", *, pool: str = "main", master: int = 2
    ) -> None:
        self.pictures: list[bytes] = []
        self.refusals: list[tuple[int, str]] = []
        asked = Deferred.fromCoroutine(near.picture((master, pool, vm), "olga"))
        asked.addCallbacks(self.pictures.append, self._refused)

    def _refused(self, failure: Any) -> None:
        failure.trap(RefusedError)
        self.refusals.append((failure.value.status, failure.value.why))


@pytest.fixture
def ui() -> PaperMaster:
    return PaperMaster(1)


@pytest.fixture
def near(ui: PaperMaster) -> NearScreens:
    return NearScreens(ui)


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture(autouse=True)
def server(ui: PaperMaster, operations: Operations) -> ScreenServer:
    server = ScreenServer(ui.other(2), "main", operations)  # type: ignore[arg-type]
    Deferred.fromCoroutine(server.start())
    return server


@pytest.fixture
def bus(ui: PaperMaster) -> list[Any]:
    """Give all that is on the message bus from now on."""
    messages: list[Any] = []
    ui.mq.startConsuming(lambda _topic, message: messages.append(message), (None, None, None))
    return messages


def test_all_pages_get_one_picture_until_it_is_old(
    ui: PaperMaster, near: NearScreens, operations: Operations
) -> None:
    first, second = Look(near), Look(near)
    operations.coming[0].callback(PICTURE)
    ui.reactor.advance(EVERY - 0.1)
    third = Look(near)
    assert [each.pictures for each in (first, second, third)] == [[PICTURE]] * 3
    assert operations.asked == ["aa"]

    ui.reactor.advance(0.1)
    fourth = Look(near)
    operations.coming[1].callback(b"another")
    assert fourth.pictures == [b"another"]
    assert (near._transfers, ui.reactor.getDelayedCalls()) == ({}, [])


def test_a_picture_of_the_largest_size_arrives_in_pieces_that_nobody_else_can_read(
    near: NearScreens, operations: Operations, bus: list[Any]
) -> None:
    whole, too_large = Look(near, "aa"), Look(near, "bb")

    operations.coming[0].callback(b"P" * MOST)
    operations.coming[1].callback(b"P" * (MOST + 1))

    assert whole.pictures == [b"P" * MOST]
    assert too_large.refusals == [(502, "the other master sends too large a picture")]
    texts = [json.dumps(message) for message in bus]
    assert max(map(len, texts)) < 64 * 1024
    assert not any("P" * 20 in text or "UFBQ" * 5 in text for text in texts)


def test_what_cannot_be_seen_is_refused_with_the_reason(
    ui: PaperMaster, near: NearScreens, operations: Operations
) -> None:
    assert Look(near, "nothing").refusals == [(404, "there is no VM called 'nothing'")]
    later, elsewhere = Look(near), Look(near, pool="other")
    operations.coming[0].errback(GuestError("it boots"))
    assert later.refusals == [(503, "it boots")]
    ui.reactor.advance(TIMEOUT)
    assert elsewhere.refusals == [(504, "the VM's master does not answer")]


def test_a_master_that_does_not_answer_is_asked_little_and_holds_up_no_other(
    ui: PaperMaster, near: NearScreens, operations: Operations, bus: list[Any]
) -> None:
    looks = [Look(near, f"vm-{number}", master=3) for number in range(MOST_ASKED - 1)]
    assert len(bus) == AT_A_TIME
    other = Look(near)
    operations.coming[0].callback(PICTURE)
    assert other.pictures == [PICTURE]
    assert Look(near, "more").refusals[0][0] == 503

    ui.reactor.pump([TIMEOUT] * MOST_ASKED)
    assert [each.refusals[0][0] for each in looks] == [504] * len(looks)
    Look(near, "more")
    assert operations.asked[-1] == "more"


def test_a_pool_takes_a_bounded_number_of_pictures_for_others(
    ui: PaperMaster, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_screen, "AT_A_TIME", 2 * far_screen.MOST)
    near = NearScreens(ui)
    looks = [Look(near, f"vm-{number}") for number in range(far_screen.MOST + 1)]

    assert [bool(each.refusals) for each in looks] == [False] * far_screen.MOST + [True]
    assert looks[-1].refusals[0][0] == 503
    operations.coming[0].callback(PICTURE)
    assert not Look(near, "one more").refusals


@pytest.mark.parametrize(
    "message",
    [
        None,
        {"pool": "main"},
        {"pool": "main", "id": 3, "asked_by": 1},
        {"pool": "main", "id": "a", "asked_by": "me"},
        {"pool": "main", "id": "a", "asked_by": 1, "vm": "aa", "key": "zz"},
        {"pool": "other", "id": "a", "asked_by": 1, "vm": "aa", "key": "zz"},
    ],
)
def test_messages_that_make_no_sense_take_no_picture(
    ui: PaperMaster, operations: Operations, message: Any
) -> None:
    ui.mq.produce(("latent_libvirt", "pictures", "2"), message)

    assert operations.asked == []


@pytest.mark.parametrize("key", ["zz", None, "00" * 32])
def test_an_answer_without_a_key_is_refused(
    ui: PaperMaster, near: NearScreens, key: str | None
) -> None:
    look = Look(near)
    (number,) = near._transfers

    ui.mq.produce(("latent_libvirt", "views", "1"), {"id": number, "key": key})

    assert look.refusals == [(502, "the other master sends no key")]


def test_a_message_that_is_lost_ends_the_picture(
    ui: PaperMaster, near: NearScreens, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, produce, sent = Look(near), ui.mq.produce, []

    def lossy(topic: Any, message: Any) -> None:
        sent.append(message)
        if len(sent) != 3:
            produce(topic, message)

    monkeypatch.setattr(ui.mq, "produce", lossy)
    operations.coming[0].callback(b"P" * MOST)

    assert look.refusals == [(502, "a message between the masters is lost")]


def test_a_server_that_has_stopped_answers_nothing(
    near: NearScreens, server: ScreenServer, operations: Operations
) -> None:
    Deferred.fromCoroutine(server.stop())

    Look(near)

    assert operations.asked == []


def test_a_look_is_one_until_the_user_has_not_asked_for_a_while(ui: PaperMaster) -> None:
    looks = Looks(ui.reactor)

    assert [looks.is_new("olga", "aa"), looks.is_new("olga", "bb"), looks.is_new("ada", "aa")] == (
        [True] * 3
    )
    for _minute in range(30):
        ui.reactor.advance(60)
        assert not looks.is_new("olga", "aa")
    ui.reactor.advance(LOOK)
    assert looks.is_new("olga", "aa")
    assert list(looks._until) == [("olga", "aa")], "what is over is forgotten"
