# SPDX-License-Identifier: GPL-2.0-only
"""The link: what goes in at one end comes out at the other, and no guest gets more than its due."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.guest.launcher.link.decoder import Decoder
from latent_libvirt.guest.launcher.link.frames import (
    ACK,
    CLOSE,
    CREDIT,
    DATA,
    HELLO,
    MOST_REDUNDANT,
    NOTHING,
    OPEN,
    OVERHEAD,
    TO_GUEST,
    TO_MASTER,
    WELCOME,
    Frame,
    LinkError,
    Message,
    mark_of,
)
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.guest.master_link import MOST_OPENINGS, MasterLink

SESSION = "0123456789abcdef"
Link = MasterLink | GuestLink

MARK = mark_of(bytes.fromhex(SESSION))


def frames_in(data: bytes) -> list[Frame]:
    """Return the frames that are complete in what follows an opening."""
    decoder = Decoder(MARK, TO_MASTER.payload, lambda: True)
    decoder.feed(MARK + data)
    return list(iter(decoder.next, None))


class Way:
    """One direction of a channel: bytes under way, and what the receiver has not done with yet."""

    def __init__(self, sender: Link, receiver: Link) -> None:
        self.sender = sender
        self.receiver = receiver
        self.under_way = b""
        self.sent = bytearray()
        self.got = bytearray()
        self.pending: list[Message] = []

    def send(self, data: bytes) -> None:
        self.sent += data
        while data:
            piece, data = data[: self.sender.payload], data[self.sender.payload :]
            self.sender.send(Message(DATA, 1, piece))

    def write(self) -> None:
        self.under_way += self.sender.take_output()

    def deliver(self, count: int) -> None:
        data, self.under_way = self.under_way[:count], self.under_way[count:]
        self.pending += self.receiver.received(data)

    def consume(self, count: int) -> None:
        for message in self.pending[:count]:
            assert message.kind in (DATA, NOTHING)
            self.got += message.payload
            self.receiver.consumed()
        del self.pending[:count]

    def lose(self, count: int, noise: bytes) -> None:
        """Lose all but the first bytes, in the middle of a frame or not; have others instead."""
        self.under_way = self.under_way[:count] + noise


class Channel:
    """A channel between both ends, that loses and delivers what a generator of numbers says."""

    def __init__(self) -> None:
        self.master = MasterLink(SESSION)
        self.guest = GuestLink(SESSION)
        self.down = Way(self.master, self.guest)
        self.up = Way(self.guest, self.master)
        self.ways = (self.down, self.up)
        self.cuts = 0
        self.master.opened()

    def cut(self, rng: random.Random) -> None:
        self.cuts += 1
        for way in self.ways:
            way.write()
            noise = rng.choice((b"", rng.randbytes(20), MARK, MARK[:5], b"\0" * 40_000))
            way.lose(rng.randrange(len(way.under_way) + 1), noise)
        self.master.opened()

    def step(self, rng: random.Random) -> None:
        for way in self.ways:
            way.write()
            way.deliver(rng.choice((1, 7, 100, 5_000, 100_000)))
            way.consume(rng.randrange(5))

    @property
    def is_idle(self) -> bool:
        return all(way.got == way.sent for way in self.ways)


CUTS = 1000
EXAMPLES = 25


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**64).map(random.Random))
def test_nothing_is_lost_or_doubled_however_the_channel_is_cut(rng: random.Random) -> None:
    channel = Channel()
    while channel.cuts < CUTS // EXAMPLES:
        for way in channel.ways:
            way.send(rng.randbytes(rng.choice((0, 1, 300, 20_000))))
        channel.up.send(rng.choice((b"", MARK, MARK[3:] + MARK)))
        for _ in range(rng.randrange(12)):
            channel.step(rng)
        channel.cut(rng)
    for _ in range(100_000):
        if channel.is_idle:
            break
        channel.step(rng)

    assert bytes(channel.down.got) == bytes(channel.down.sent)
    assert bytes(channel.up.got) == bytes(channel.up.sent)


def opened() -> Channel:
    channel = Channel()
    for _ in range(2):
        for way in channel.ways:
            way.write()
            way.deliver(10_000)
    assert channel.master.is_open
    assert channel.guest.is_open
    return channel


def test_a_mark_in_what_comes_with_the_welcome_begins_no_frame() -> None:
    channel = Channel()
    channel.down.write()
    channel.down.deliver(10_000)
    channel.up.write()
    channel.up.send(MARK + b"x" * 1000)
    channel.up.write()

    channel.up.deliver(len(channel.up.under_way) - 500)
    channel.up.deliver(500)
    channel.up.consume(2)

    assert channel.up.got == channel.up.sent


@pytest.mark.parametrize("payload", [b"x" * TO_GUEST.payload, b"x"])
def test_a_guest_that_does_not_read_is_sent_no_more_than_the_window(payload: bytes) -> None:
    channel = opened()
    for _ in range(100):
        channel.down.send(payload)
        channel.down.write()

    under_way = channel.down.under_way
    assert len(under_way) <= TO_GUEST.bytes
    assert len(frames_in(under_way)) <= TO_GUEST.messages
    assert not channel.master.has_room


def test_a_guest_that_writes_and_does_not_read_is_sent_no_more_acknowledgements_either() -> None:
    channel = opened()
    for _ in range(100):
        channel.up.send(b"x" * 30_000)
        channel.up.write()
        channel.up.deliver(10**6)
        channel.up.consume(100)
        channel.down.write()

    assert len(channel.down.under_way) <= TO_GUEST.bytes
    assert len(frames_in(channel.down.under_way)) <= TO_GUEST.messages
    assert len(channel.up.got) <= TO_MASTER.bytes * (TO_GUEST.messages + 1)


def test_a_guest_without_acknowledgement_stops_and_goes_on_after_one() -> None:
    channel = opened()
    data = bytes(range(256)) * 8000
    channel.up.send(data)
    channel.up.write()
    assert len(channel.up.under_way) <= TO_MASTER.bytes

    rng = random.Random(1)
    while not channel.is_idle:
        channel.step(rng)

    assert channel.up.got == data


def test_a_guest_that_does_not_read_gets_nothing_again_for_a_second_welcome() -> None:
    channel = opened()
    channel.down.send(b"x" * 3 * TO_GUEST.payload)
    channel.down.write()
    welcome = Frame(WELCOME, 1, 0, 0, 0, 0, bytes.fromhex(SESSION)).encode()

    with pytest.raises(LinkError, match="out of order"):
        channel.master.received(welcome)


def test_a_mark_makes_no_noise_good_once_the_channel_is_open() -> None:
    channel = opened()

    with pytest.raises(LinkError, match="no frame"):
        channel.master.received(b"noise" * 100 + MARK)


@pytest.mark.parametrize("was_open", [False, True])
def test_nothing_counts_before_the_channel_is_opened(*, was_open: bool) -> None:
    master = MasterLink(SESSION)
    if was_open:
        master.opened()
        master.cut()
    stale = Frame(WELCOME, int(was_open), 0, 0, 0, 0, bytes.fromhex(SESSION)).encode()

    assert master.received(MARK + stale + b"\0" * 10**6) == []
    assert not master.is_open


def frames_of_a_liar(count: int, **lies: int) -> Iterator[bytes]:
    """Yield messages with numbers in order, of a guest that says what is not so."""
    for number in range(count):
        values = {"kind": DATA, "number": number, "acknowledged": 0, "cookie": 0, **lies}
        yield Frame(
            values["kind"],
            1,
            values["number"],
            0,
            values["acknowledged"],
            values["cookie"],
            b"x" * values.get("size", 1),
        ).encode()


@pytest.mark.parametrize(
    ("count", "lies", "reason"),
    [
        (TO_MASTER.messages + 1, {}, "more than it may"),
        (9, {"size": TO_MASTER.payload}, "more than it may"),
        (1, {"size": TO_MASTER.payload + 1}, "too long"),
        (1, {"number": 1}, "out of order"),
        (2, {"number": 0}, "out of order"),
        (1, {"kind": 99}, "out of order"),
        (1, {"kind": HELLO}, "out of order"),
        (1, {"kind": NOTHING, "size": 0}, "out of order"),
        (1, {"size": 0}, "malformed"),
        (1, {"kind": CREDIT, "size": 0}, "malformed"),
        (1, {"kind": OPEN}, "malformed"),
        (1, {"kind": CLOSE}, "malformed"),
        (1, {"acknowledged": 1}, "cannot have read"),
        (MOST_REDUNDANT + 1, {"kind": ACK}, "again and again"),
    ],
)
def test_a_guest_that_breaks_the_rules_is_found_out(
    count: int, lies: dict[str, int], reason: str
) -> None:
    channel = opened()
    *good, last = frames_of_a_liar(count, **lies)
    for frame in good:
        channel.master.received(frame)

    with pytest.raises(LinkError, match=reason):
        channel.master.received(last)


def test_a_guest_cannot_acknowledge_what_it_has_not_read() -> None:
    channel = opened()
    channel.down.send(b"a question")
    channel.down.write()

    (lie,) = frames_of_a_liar(1, kind=ACK, acknowledged=1, cookie=12345)
    with pytest.raises(LinkError, match="cannot have read"):
        channel.master.received(lie)


def receive_all(link: MasterLink, pieces: list[bytes]) -> None:
    for piece in pieces:
        link.received(piece)


@pytest.mark.parametrize("opens", [True, False])
def test_noise_without_end_is_no_frame(*, opens: bool) -> None:
    channel = opened() if opens else Channel()

    with pytest.raises(LinkError):
        receive_all(channel.master, [b"\xff" * 65536] * 100)


def test_noise_without_a_welcome_is_found_out_even_in_small_pieces() -> None:
    channel = Channel()

    with pytest.raises(LinkError, match="no welcome"):
        receive_all(channel.master, [b"noise" * 1000 + MARK] * 1000)


@pytest.mark.parametrize("openings", [1, 3, MOST_OPENINGS])
def test_a_guest_that_hears_of_many_openings_may_send_its_window_for_each(openings: int) -> None:
    channel = opened()
    channel.up.send(random.Random(1).randbytes(2 * TO_MASTER.bytes))
    channel.up.write()
    for _ in range(openings):
        channel.master.opened()
        channel.down.write()
        channel.down.deliver(10_000)
        channel.up.write()
    while channel.up.under_way:
        channel.up.deliver(65536)

    assert channel.master.is_open
    rng = random.Random(1)
    while not channel.is_idle:
        channel.step(rng)


def test_a_guest_that_is_cut_again_and_again_may_send_its_window_each_time() -> None:
    channel = opened()
    for _ in range(10 * MOST_OPENINGS):
        channel.up.send(b"x" * TO_MASTER.bytes)
        channel.up.write()
        channel.master.opened()
        for way in channel.ways:
            way.write()
            way.deliver(10 * TO_MASTER.bytes)
        channel.up.consume(100)

    assert channel.master.is_open


def test_openings_without_a_welcome_earn_a_guest_nothing_more_in_the_end() -> None:
    master, noise = MasterLink(SESSION), b"noise" * 10_000
    for _ in range((1 + MOST_OPENINGS) * TO_MASTER.bytes // len(noise)):
        master.opened()
        master.received(noise)

    with pytest.raises(LinkError, match="no welcome"):
        open_and_receive(master, [noise] * 1000)


def open_and_receive(master: MasterLink, pieces: list[bytes]) -> None:
    for piece in pieces:
        master.opened()
        master.received(piece)


def test_a_guest_of_another_session_stays_a_stranger() -> None:
    master, guest = MasterLink(SESSION), GuestLink("f" * 16)
    master.opened()
    guest.received(master.take_output())

    assert guest.openings == 0
    assert master.received(guest.take_output()) == []
    assert not master.is_open


def test_a_welcome_to_an_earlier_hello_does_not_count() -> None:
    channel = Channel()
    channel.down.write()
    channel.down.deliver(10_000)
    channel.up.write()
    channel.master.opened()
    channel.up.deliver(10_000)

    assert not channel.master.is_open


def test_connections_begin_and_end_in_order() -> None:
    channel = opened()
    sent = [Message(OPEN, 1), Message(DATA, 1, b"hello"), Message(CLOSE, 1), Message(OPEN, 2)]
    for message in sent:
        channel.guest.send(message)
    channel.up.write()
    channel.up.deliver(10_000)

    assert channel.up.pending == sent


def test_a_welcome_that_claims_messages_which_were_not_sent_is_found_out() -> None:
    channel = Channel()
    channel.down.write()
    session = bytes.fromhex(SESSION)
    lie = Frame(WELCOME, 1, 5, 0, 0, 0, session).encode()

    with pytest.raises(LinkError, match="not sent"):
        channel.master.received(MARK + lie)


@given(st.integers(0, 2**64).map(random.Random))
def test_whatever_a_guest_says_is_a_message_or_breaks_the_rules(rng: random.Random) -> None:
    channel = opened()
    channel.down.send(b"x" * 1000)
    channel.down.write()
    known = [frame.cookie for frame in frames_in(channel.down.under_way)]
    written = len(channel.down.under_way)
    number = 0
    with contextlib.suppress(LinkError):
        for _ in range(300):
            channel.master.received(lie(rng, number, known))
            number = channel.master._received
            if channel.master._consumed < number and rng.random() < 0.9:
                channel.master.consumed()
            written += len(channel.master.take_output())
            assert len(channel.master._decoder._data) <= TO_MASTER.payload + OVERHEAD

    assert sum(channel.master._sizes) <= TO_MASTER.bytes
    assert len(channel.master._sizes) <= TO_MASTER.messages
    assert written <= TO_GUEST.bytes + 1100


def lie(rng: random.Random, number: int, cookies: list[int]) -> bytes:
    """Return what a guest may say that guesses well: frames, parts of them, or noise."""
    kind = rng.choice((DATA, DATA, DATA, OPEN, CLOSE, CREDIT, ACK, NOTHING, WELCOME, 0, 255))
    payload = rng.randbytes(rng.choice((0, 1, 4, 500, TO_MASTER.payload)))
    acknowledged = rng.choice((0, 0, 0, 1, 2, 2**63))
    fields = (kind, rng.randrange(3), rng.choice((number, number, number, 0, 2**64 - 1)), 0)
    frame = Frame(*fields, acknowledged, rng.choice((*cookies, 0)), payload).encode()
    return rng.choice((frame, frame, frame, frame, frame[: rng.randrange(len(frame))], MARK))
