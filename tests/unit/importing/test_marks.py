# SPDX-License-Identifier: GPL-2.0-only
"""What a guest says for its import, between everything else on its console."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.images.progress import Reporter
from latent_libvirt.importing.marks import Marks


class Heard(Reporter):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.details: list[str] = []
        self.notes: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


CONSOLE = (
    b"[    0.0] Linux version 6.1\r\n\x1b[0;32m  OK  \x1b[0m Started\r\n"
    b"\r\nM begun\r\nM stage looking\r\nMstage no\r\nM note slow\r\n\r\nM done\r\n"
)


@pytest.mark.parametrize("piece", [1, 7, len(CONSOLE)])
def test_marks_are_found_however_the_console_is_cut(piece: int) -> None:
    heard = Heard()
    marks = Marks("M", heard)
    for start in range(0, len(CONSOLE), piece):
        marks.feed(CONSOLE[start : start + piece])

    assert (marks.begun, marks.done, marks.failure, marks.stage) == (True, True, "", "looking")
    assert heard.stages == ["looking"]
    assert heard.notes == ["slow"]
    assert "  OK   Started" in heard.details
    assert "Mstage no" in heard.details


def test_a_failure_has_its_reason_without_control_characters() -> None:
    marks = Marks("M", Heard())
    marks.feed(b"M failed it has\x1b]0;title\x07 no Python\n")

    assert marks.failure == r"it has\x1b]0;title\x07 no Python"
    assert not marks.done


def test_a_prompt_is_seen_although_its_line_does_not_end() -> None:
    marks = Marks("M", Heard())
    marks.feed(b"Debian GNU/Linux 12 localhost ttyS0\r\n\r\nlocalhost log")
    assert not marks.asks_for_login
    marks.feed(b"in: ")
    assert marks.asks_for_login


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_nothing_that_a_guest_says_is_too_strange(pieces: list[bytes]) -> None:
    heard = Heard()
    marks = Marks("M", heard)
    for piece in pieces:
        marks.feed(piece)
    assert all(text.isprintable() for text in heard.details)


def test_a_line_without_an_end_is_not_kept_whole() -> None:
    marks = Marks("M", Heard())
    for _ in range(100):
        marks.feed(b"x" * 10_000)
    assert len(marks._rest) <= 4096


def test_packages_are_taken_as_a_manifest_has_them_and_gaps_are_seen() -> None:
    marks = Marks("M", Heard())
    marks.feed(b"M package deb make 4.3-4.1\nM package rpm libstdc++ 11.4.1-3.el9\n")
    marks.feed(b"M package deb ../etc 1\nM package snap x 1\nM package deb x 1 2\n")
    marks.feed(b"M packages 2\n")

    assert marks.packages == {"deb make": "4.3-4.1", "rpm libstdc++": "11.4.1-3.el9"}
    assert (marks.lists_all_packages, marks.kernel_changed) == (True, False)
    marks.feed(b"M packages 3\nM kernel changed\n")
    assert (marks.lists_all_packages, marks.kernel_changed) == (False, True)
