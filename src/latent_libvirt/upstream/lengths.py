# SPDX-License-Identifier: GPL-2.0-only
"""Lengths of bodies as requests announce them: one that no body has is refused like any other text.

Twisted 26.10 reads the digits of ``Content-Length`` with ``int``, which fails at 4,301 of them: the
connection ends without an answer, and the log gets a traceback, whenever somebody sends such a
line. No upstream issue is known.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.web.http import HTTPChannel

_METHOD: Final = "_maybeChooseTransferDecoder"
_MOST_DIGITS: Final = 18


def install() -> None:
    """Wrap what reads lengths in all web servers of this process, once."""
    original = getattr(HTTPChannel, _METHOD, None)
    if original is None or getattr(original, "_latent_libvirt", False):
        return

    def choose(channel: Any, header: bytes, data: bytes) -> bool:
        is_too_long = len(data) > _MOST_DIGITS and data.isdigit()
        if header == b"Content-Length" and is_too_long:
            return bool(channel._failChooseTransferDecoder())  # noqa: SLF001 - as for no digits
        return bool(original(channel, header, data))

    choose._latent_libvirt = True  # type: ignore[attr-defined]  # noqa: SLF001 - ours
    setattr(HTTPChannel, _METHOD, choose)
