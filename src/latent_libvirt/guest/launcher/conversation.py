# SPDX-License-Identifier: GPL-2.0-only
"""Conversation with the pool, from the first ``waiting`` to the identity."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import ButtonPressed
from .identity import parse_identity
from .power_button import PowerButton
from .siblings import get_ready_to_be_saved

if TYPE_CHECKING:
    from .channel import Channel
    from .identity import Identity
    from .rehearsal import Rehearsal


def await_identity(
    channel: Channel,
    button: PowerButton,
    waiting: Callable[[], None],
    begin_rehearsal: Callable[[], Rehearsal],
) -> Identity:
    """Say that this VM waits, whenever asked; return the identity that it gets.

    :raises ButtonPressed: it is to shut down instead.
    :raises LauncherError: what came was no identity.
    """
    poll = select.poll()
    for descriptor in (channel.fileno(), *button.filenos()):
        poll.register(descriptor, select.POLLIN)
    waiting()
    with contextlib.ExitStack() as rehearsals:
        saved = None
        while True:
            ready = [descriptor for descriptor, _event in poll.poll()]
            if any(PowerButton.is_pressed(d) for d in ready if d != channel.fileno()):
                raise ButtonPressed
            for message in channel.receive() if channel.fileno() in ready else ():
                type_ = message.get("type")
                if type_ == "identity":
                    return replace(parse_identity(message), saved=saved)
                if type_ == "rehearse":
                    rehearsals.close()
                    rehearsals.callback(begin_rehearsal().end)
                elif type_ == "save":
                    rehearsals.close()
                    saved = get_ready_to_be_saved()
                    channel.send("saveable")
                else:
                    waiting()
