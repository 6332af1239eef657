# SPDX-License-Identifier: GPL-2.0-only
"""Topics of the page on Buildbot's message bus, which all masters share.

Anybody who may open Buildbot's WebSocket can read what is sent here. Only masters can send.
"""

from __future__ import annotations

from typing import Final

Topic = tuple[str, str, str]

_OURS: Final = "latent_libvirt"


def watch(master: int | None) -> Topic:
    """Return where the master with that id says that pages are open; ``None``: any master."""
    return (_OURS, "watch", _part(master))


def pools(master: int | None) -> Topic:
    """Return where the master with that id publishes its pools; ``None``: any master."""
    return (_OURS, "pools", _part(master))


def page(master: int) -> Topic:
    """Return where the master with that id tells its open pages that there is news."""
    return (_OURS, "page", _part(master))


def commands(master: int) -> Topic:
    """Return where the master with that id is sent commands."""
    return (_OURS, "commands", _part(master))


def answers(master: int) -> Topic:
    """Return where the master with that id gets answers to the commands that it has sent."""
    return (_OURS, "answers", _part(master))


def terminals(master: int) -> Topic:
    """Return where the master with that id is sent what users type in its VMs, encrypted."""
    return (_OURS, "terminals", _part(master))


def screens(master: int) -> Topic:
    """Return where the master with that id gets what VMs of others show, encrypted."""
    return (_OURS, "screens", _part(master))


def pictures(master: int) -> Topic:
    """Return where the master with that id is asked for pictures of its VMs' screens."""
    return (_OURS, "pictures", _part(master))


def views(master: int) -> Topic:
    """Return where the master with that id gets pictures of other masters' VMs, encrypted."""
    return (_OURS, "views", _part(master))


def _part(master: int | None) -> str:
    return None if master is None else str(master)  # type: ignore[return-value]  # a wildcard
