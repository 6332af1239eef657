# SPDX-License-Identifier: GPL-2.0-only
"""Text of others, as one line that a terminal shows and does not obey.

What clients, guests and hosts write may hold escape sequences, line ends, and characters that turn
the text around them. Here each of these becomes an escape that can be read.
"""

from __future__ import annotations

import os


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a file's name as text that can be printed, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def as_text(text: object) -> str:
    r"""Return a text in which all that is not printable is written out, like ``\x1b``."""
    return "".join(c if c.isprintable() else _written_out(c) for c in str(text))


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
