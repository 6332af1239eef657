# SPDX-License-Identifier: GPL-2.0-only
"""The text in what a program says to a terminal: control sequences go whole, wherever they are cut.

Their form is that of ECMA-48: ``ESC [`` with parameters and one last character, strings from ``ESC
]`` (and others) to a terminator, ``ESC`` with intermediate characters and a last one; or the same
begun by one character of C1. What does not end soon was none: what follows is text again, and
nothing is kept but where in a sequence one is.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

_ESCAPE: Final = "\x1b"
_ABORT: Final = "\x18\x1a"
_BELL: Final = "\x07"
_C1: Final = {"\x9b": "[", "\x9d": "]", "\x90": "P", "\x98": "X", "\x9e": "^", "\x9f": "_"}
_STRINGS: Final = "]PX^_"
_STRING_END: Final = "\x9c"

LONGEST: Final = 1024
"""Characters of one sequence; titles of windows are the longest that consoles see."""


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CONTROL = auto()
    STRING = auto()
    STRING_ESCAPE = auto()


class PlainText:
    """The text in a stream of characters."""

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._length = 0
        self._returned = False
        self._column = 0

    def of(self, characters: str) -> str:
        r"""Return the text in what comes next; its lines end with ``\n``."""
        return "".join(map(self._take, characters))

    def _take(self, character: str) -> str:
        if self._state is _State.TEXT:
            return self._text(character)
        self._length += 1
        if character in _ABORT or self._length > LONGEST:
            self._state = _State.TEXT
        elif self._state in (_State.STRING, _State.STRING_ESCAPE):
            return self._in_string(character)
        elif character == "\n":
            self._state = _State.TEXT
            return self._text(character)
        elif character == _ESCAPE:
            self._begin(_State.ESCAPE)
        elif self._state is _State.ESCAPE:
            self._after_escape(character)
        elif not " " <= character <= "?":
            self._state = _State.TEXT
        return ""

    def _begin(self, state: _State) -> None:
        self._state, self._length = state, 0

    def _after_escape(self, character: str) -> None:
        if character == "[":
            self._state = _State.CONTROL
        elif character in _STRINGS:
            self._state = _State.STRING
        elif not " " <= character <= "/":
            self._state = _State.TEXT

    def _in_string(self, character: str) -> str:
        if character == "\n":  # a string that was cut off must not take what follows with it
            self._state = _State.TEXT
            return self._text(character)
        if character in (_BELL, _STRING_END):
            self._state = _State.TEXT
        elif self._state is _State.STRING_ESCAPE:
            self._state = _State.TEXT if character == "\\" else _State.ESCAPE
            if self._state is _State.ESCAPE:
                self._after_escape(character)
        elif character == _ESCAPE:
            self._state = _State.STRING_ESCAPE
        return ""

    def _text(self, character: str) -> str:
        if character == _ESCAPE:
            self._begin(_State.ESCAPE)
        elif character in _C1:
            self._begin(_State.ESCAPE)
            self._after_escape(_C1[character])
        elif character == "\r":
            self._returned = True
        elif character == "\n":
            self._returned, self._column = False, 0
            return character
        elif character.isprintable() or character == "\t":
            return self._printed(character)
        return ""

    def _printed(self, character: str) -> str:
        over = "\n" if self._returned and self._column else ""
        self._column = 1 if over else self._column + 1
        self._returned = False
        return over + character
