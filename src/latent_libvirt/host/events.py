# SPDX-License-Identifier: GPL-2.0-only
"""Events of hosts, for those who count: calls of libvirt, lost connections, what a sweep has freed.

Who listens, and what becomes of it, is not known here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from twisted.internet import defer

if TYPE_CHECKING:
    from latent_libvirt.host.names import Kind

Operation = Literal[
    "close_channel",
    "create_overlay",
    "delete_saved",
    "destroy",
    "examine",
    "find_address",
    "free",
    "freeze",
    "let_go",
    "listen",
    "mark",
    "measure",
    "measure_one",
    "picture",
    "probe_kvm",
    "read_frozen",
    "read_saved",
    "resolve_image",
    "restore",
    "save",
    "shut_down",
    "start_domain",
    "survey",
    "thaw",
    "write_to_console",
    "write_to_guest",
]
"""What a call is for, in a word: they are few, and never contain the name of anything."""

Outcome = Literal["ok", "error", "timeout"]
"""How a call ended: ``error`` is libvirt's refusal, or that something it needs is not there."""


class HostEvents(Protocol):
    """Who wants to know; called on the reactor's thread with the host's name."""

    def call_ended(self, host: str, operation: Operation, outcome: Outcome, seconds: float) -> None:
        """Record a call.

        :param seconds: until its caller had the answer, with the wait for a thread to run it.
        """

    def connection_lost(self, host: str) -> None:
        """Note that a connection that stood is lost."""

    def leaks_freed(self, host: str, kind: Kind, count: int) -> None:
        """Note that a sweep has freed what belonged to no live VM."""

    def vm_saved(self, host: str) -> None:
        """Note that a VM was saved, to be resumed from then on."""

    def state_rejected(self, host: str) -> None:
        """Note that a saved state was thrown away, since no VM came up from it."""


class NullEvents:
    """Does nothing with any of it."""

    def call_ended(self, host: str, operation: Operation, outcome: Outcome, seconds: float) -> None:
        """Do nothing."""

    def connection_lost(self, host: str) -> None:
        """Do nothing."""

    def leaks_freed(self, host: str, kind: Kind, count: int) -> None:
        """Do nothing."""

    def vm_saved(self, host: str) -> None:
        """Do nothing."""

    def state_rejected(self, host: str) -> None:
        """Do nothing."""


@contextmanager
def reported(events: HostEvents, host: str, operation: Operation) -> Iterator[None]:
    """Tell how the call in the ``with`` block ended; not if its caller gave it up."""
    began = time.monotonic()
    outcome: Outcome | None = "ok"
    try:
        yield
    except defer.CancelledError:
        outcome = None
        raise
    except defer.TimeoutError:
        outcome = "timeout"
        raise
    except Exception:
        outcome = "error"
        raise
    finally:
        if outcome is not None:
            events.call_ended(host, operation, outcome, time.monotonic() - began)
