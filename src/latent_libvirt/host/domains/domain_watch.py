# SPDX-License-Identifier: GPL-2.0-only
"""Watch on the domain of one VM: whether it is up, and whose end an event of libvirt's tells of.

All domains of a slot have one name, and an event may come late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

import libvirt
from twisted.internet.defer import Deferred

from latent_libvirt.host.domains import lifecycle

if TYPE_CHECKING:
    from latent_libvirt.host.guests.guest import Guest

T = TypeVar("T")


class _Domain(Enum):
    """A domain of this VM, as far as is known."""

    OFF = auto()
    STARTED = auto()  # libvirt has reported that; the call that starts it has not returned
    UP = auto()


class DomainWatch:
    """What is known of the domain; the reactor's thread alone writes it."""

    def __init__(self) -> None:
        self._domain = _Domain.OFF
        self._is_being_saved = False  # until libvirt has reported that
        self._pause = ""
        self._probe: Deferred[bool] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it is up, however it came up."""
        return self._domain is _Domain.UP

    @property
    def pause(self) -> str:
        """Why it is paused, as a sentence without its full stop; empty if it runs, or is not up."""
        return self._pause if self.is_up else ""

    def is_there(self) -> None:
        """Note that the domain is up."""
        self._domain = _Domain.UP

    def is_gone(self) -> None:
        """Note that there is no domain, or another one."""
        self._domain = _Domain.OFF

    def is_being_saved(self) -> None:
        """Note that the domain ends as soon as it is saved; that is not the end of the VM."""
        self._is_being_saved, self._domain = True, _Domain.OFF

    def runs_on(self) -> None:
        """Note that it was not saved."""
        self._is_being_saved, self._domain = False, _Domain.UP

    async def probed(self, probe: Callable[[Deferred[bool]], Awaitable[T]]) -> T:
        """Return what *probe* finds out with a domain that is not the VM's.

        :param probe: is given what fires with the end of that domain.
        """
        self._probe = Deferred()
        try:
            return await probe(self._probe)
        finally:
            self._probe = None
            self._domain = _Domain.OFF

    def event(self, event: int, detail: int, guest: Guest, *, is_ending: bool) -> None:
        """Record a lifecycle event of the slot's domain.

        :param guest: hears of its end.
        :param is_ending: whether the VM is to end.
        """
        pause = lifecycle.pause_of_vm(event, detail)
        if pause is not None:
            self._pause = pause
        if self._is_being_saved and lifecycle.was_saved(event, detail):
            self._is_being_saved = False
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED and not self.is_up:
            self._domain = _Domain.STARTED
        reason = lifecycle.end_of_vm(event, detail)
        if reason is None or self._domain is _Domain.OFF:
            return  # An end before the start is that of the slot's last domain, reported late.
        powered_off = lifecycle.powered_itself_off(event, detail)
        if self._probe is None:
            guest.ended(reason, at_once=is_ending, powered_off=powered_off)
        elif not self._probe.called:
            self._probe.callback(powered_off)
