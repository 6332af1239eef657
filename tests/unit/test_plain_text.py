# SPDX-License-Identifier: GPL-2.0-only
"""Text of others, as a terminal shows it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.plain_text import all_shown, as_text


def test_what_commands_a_terminal_is_written_out() -> None:
    assert as_text("\x1b[2J\x07") == "\\x1b[2J\\x07"
    assert as_text("a\nb\r\tc") == "a\\nb\\r\\tc"
    assert as_text("\u202egpj") == "\\u202egpj"
    assert as_text("\ud800") == "\\ud800"
    assert as_text("Grüße, 你好 😀") == "Grüße, 你好 😀"


@given(st.text(st.characters()))
@settings(deadline=None)
def test_whatever_it_is_it_is_one_printable_line(text: str) -> None:
    assert as_text(text).isprintable()


@dataclass(frozen=True)
class Leaf:
    text: str
    count: int | None = None


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    more: dict[str, list[str]]


def test_each_text_of_a_document_is_written_out_and_nothing_else_changes() -> None:
    found = all_shown(Tree((Leaf("\x1b[2J", 3), Leaf("a\nb")), {"\x07": ["\x9b", "plain"]}))

    assert found == Tree((Leaf("\\x1b[2J", 3), Leaf("a\nb")), {"\\x07": ["\\x9b", "plain"]})
