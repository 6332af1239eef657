# SPDX-License-Identifier: GPL-2.0-only
"""What of a guest's output is text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.cli.terminals.terminal import plain_text
from latent_libvirt.plain_text.control_sequences import LONGEST, PlainText

ESC = "\x1b"

SEQUENCES = {
    "colour": f"{ESC}[0;32m",
    "cursor": f"{ESC}[24;80H",
    "private mode": f"{ESC}[?2004h",
    "with an intermediate": f"{ESC}[0 q",
    "colons": f"{ESC}[38:2::1:2:3m",
    "one character": f"{ESC}c",
    "charset": f"{ESC}(B",
    "two intermediates": f"{ESC}$(C",
    "line size": f"{ESC}#8",
    "title": f"{ESC}]0;owned\x07",
    "title with ST": f"{ESC}]2;owned{ESC}\\",
    "hyperlink": f"{ESC}]8;;http://x/{ESC}\\",
    "clipboard": f"{ESC}]52;c;b3duZWQ=\x07",
    "device control": f'{ESC}P$q"p{ESC}\\',
    "application": f"{ESC}_owned{ESC}\\",
    "privacy": f"{ESC}^owned{ESC}\\",
    "start of string": f"{ESC}Xowned{ESC}\\",
    "C1 colour": "\x9b1;31m",
    "C1 title": "\x9d0;owned\x9c",
    "C1 device control": "\x90q\x9c",
    "C1 next line": "\x85",
    "aborted": f"{ESC}[12\x18",
    "begun again": f"{ESC}[12{ESC}[0m",
    "bell": "\x07",
    "tag": "\U000e0041",
    "right to left": "\u202e",
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_sequence_goes_whole_wherever_it_is_cut(name: str, size: int) -> None:
    said = f"before{SEQUENCES[name]}after\n".encode()
    plain = plain_text("\n")

    shown = b"".join(plain(said[start : start + size]) for start in range(0, len(said), size))

    assert shown == b"beforeafter\n"


@pytest.mark.parametrize("begun", [f"{ESC}]0;", f"{ESC}P", f"{ESC}[", ESC, "\x9d"])
def test_a_sequence_without_end_takes_no_more_than_its_line(begun: str) -> None:
    assert PlainText().of(f"{begun}\nafter\n") == "\nafter\n"


@pytest.mark.parametrize("begun", [f"{ESC}]", f"{ESC}P", f"{ESC}[", f"{ESC}("])
def test_a_sequence_without_end_takes_no_more_than_a_bound(begun: str) -> None:
    filler = "1" if begun[1] in "]P[" else " "

    assert PlainText().of(f"{begun}{filler * LONGEST * 2}end").endswith("end")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("a\r\r\nb", "a\nb"),
        ("\r\rready\r\n", "ready\n"),
        ("a\r\x1b[Kb\n", "a\nb\n"),
    ],
)
def test_a_line_that_is_written_over_begins_a_new_one(said: str, shown: str) -> None:
    assert PlainText().of(said) == shown


@given(
    st.lists(st.text(alphabet=st.sampled_from("\x1b[]P;m0a(\\\x07\x9b\x9c\x18\r\n\tX")), max_size=9)
)
def test_nothing_that_is_left_commands_a_terminal(pieces: list[str]) -> None:
    plain = PlainText()
    text = "".join(map(plain.of, pieces)).replace("\n", "").replace("\t", "")

    assert text == "" or text.isprintable()
