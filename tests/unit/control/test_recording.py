# SPDX-License-Identifier: GPL-2.0-only
"""Recordings of terminals, as players of asciicast read them."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock

from latent_libvirt.control.recording import MOST, Recording


def recording_of(*said: bytes) -> list[Any]:
    clock = Clock()
    recording = Recording("latent-libvirt-1@alpha", at=1_700_000_000.5, clock=clock.seconds)
    for data in said:
        clock.advance(0.25)
        recording.add(data)
    return [json.loads(line) for line in recording.value().splitlines()]


def test_what_the_guest_says_is_in_it_with_its_time() -> None:
    head, *events = recording_of(b"$ ", b"ls\r\n")

    assert head == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1_700_000_000,
        "title": "latent-libvirt-1@alpha",
    }
    assert events == [[0.25, "o", "$ "], [0.5, "o", "ls\r\n"]]


def test_another_size_of_the_terminal_is_in_it() -> None:
    recording = Recording("a VM", at=0, clock=Clock().seconds)
    recording.resize(132, 50)

    assert json.loads(recording.value().splitlines()[1]) == [0, "r", "132x50"]


def test_a_letter_that_comes_in_two_pieces_is_one_and_other_bytes_are_marked() -> None:
    _head, *events = recording_of("ž".encode()[:1], "ž".encode()[1:], b"\xff")

    assert events == [[0.5, "o", "ž"], [0.75, "o", "\N{REPLACEMENT CHARACTER}"]]


def test_a_flood_is_recorded_up_to_the_bound() -> None:
    found = recording_of(*[b"x" * 300_000] * 9)

    assert [event[1] for event in found[1:]] == ["o", "o", "o", "m"]
    assert sum(len(json.dumps(each)) + 1 for each in found[:-1]) <= MOST
