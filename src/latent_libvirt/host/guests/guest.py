# SPDX-License-Identifier: GPL-2.0-only
"""The conversation with one guest: what it said, what it is expected to say, and how it ended.

Everything here happens on the reactor's thread except where a docstring says that it blocks. The
domain around the guest is in ``machine.py``.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred

from latent_libvirt.errors import GuestError
from latent_libvirt.guest.launcher.link.frames import VERSION
from latent_libvirt.guest.protocol import HELLO
from latent_libvirt.host.guests.console import Console
from latent_libvirt.host.guests.streams import Channel
from latent_libvirt.host.libvirtd.call_threads import side_by_side

CONSOLE_LINES = 60
"""As many as a kernel needs to say that it has panicked, and where."""

_MESSAGES = ("waiting", "saveable", "starting")
_SEND_TIMEOUT = 20.0
_LAST_WORDS = 0.3
_MAX_REASON = 1000
_VERSION = re.compile("[0-9a-f]{12}")
_UNKNOWN = "0" * 12


class Guest:
    """What is known of the guest of one VM.

    :param name: the domain's name, for messages.
    """

    def __init__(self, name: str, *, reactor: Any) -> None:
        self.name = name
        self.console = Console(name, reactor=reactor)
        self._reactor = reactor
        self._channel: Channel | None = None
        self._end: GuestError | None = None
        self._expected: list[Deferred[Any]] = []
        self._said: dict[str, Deferred[None]] = {}
        self._heard: set[str] = set()
        self._refusal: GuestError | None = None
        self.launcher = _UNKNOWN
        """The version of the launcher, which waits; zeros where it has sent none."""
        self.can_be_saved = False
        """Whether the launcher, which waits, knows what a VM needs that is resumed."""
        self.can_rehearse = False
        """Whether the launcher, which waits, knows what a rehearsal is."""
        self.can_speak_tls = False
        """Whether the launcher, which waits, can connect to a master whose port speaks TLS."""
        self.has_channel = False
        """Whether the launcher, which waits, can lead its worker through a channel as we do."""
        self.has_proxy = False
        """Whether the launcher, which waits, can lead builds to the forward proxy as well."""

    def expect(self) -> Deferred[Any]:
        """Return a Deferred for the caller to fire; a GuestError fires it if the VM ends first."""
        deferred: Deferred[Any] = Deferred()
        if self._end is not None:
            deferred.errback(self._end)
        else:
            self._expected.append(deferred)
        return deferred

    def ended(self, reason: str, *, at_once: bool = False, powered_off: bool = False) -> None:
        """Note that the VM is gone, so that everything expected of it fails.

        :param at_once: do not wait for the last of the console's output to arrive.
        :param powered_off: whether the guest did it, as a kernel also does that has panicked.
        """
        delay = 0.0 if at_once else _LAST_WORDS
        fail = partial(self._fail_expected, reason, powered_off=powered_off)
        self._reactor.callLater(delay, fail)

    async def until_it_says(self, type_: str, *, timeout: float, resolution: str) -> None:
        """Wait for a message of that type, unless it has come already.

        :param timeout: seconds.
        :param resolution: what to do if it does not come.
        :raises GuestError: if the VM ends first, the guest reports a failure, or time is up.
        """
        if self._refusal is not None:
            raise self._refusal
        if type_ in self._heard:
            return
        said = self._said[type_] = self.expect()
        try:
            await said.addTimeout(timeout, self._reactor)
        except defer.TimeoutError:
            brief = f"VM {self.name} did not say {type_!r} within {timeout:g} s"
            raise self.with_console(GuestError(brief, resolution=resolution)) from None
        finally:
            del self._said[type_]

    def forget_what_it_said(self) -> None:
        """Expect everything again: the VM was saved, and is now another one."""
        self._heard.clear()

    def with_console(self, error: GuestError) -> GuestError:
        """Return *error* with the last lines of the serial console among its details."""
        lines = self.console.last_lines(CONSOLE_LINES)
        console = f"The last lines of its serial console:\n{lines}" if lines else _SILENT_CONSOLE
        details = console if error.details is None else f"{error.details}\n{console}"
        return GuestError(
            error.brief, details=details, resolution=error.resolution, gist=error.gist
        )

    def open_streams(self, domain: libvirt.virDomain) -> None:
        """Begin to listen, and ask the launcher whether it waits already. Blocks."""
        side_by_side(partial(self.console.open, domain), partial(self._open_channel, domain))
        self.send(HELLO)

    def _open_channel(self, domain: libvirt.virDomain) -> None:
        self.close_channel()
        self._channel = Channel(domain, self._from_event_loop)

    def send(self, message: dict[str, Any]) -> None:
        """Write *message* to the launcher. Blocks.

        :raises GuestError: if the channel is not open, or the guest does not read from it.
        """
        if self._channel is None:
            raise GuestError(f"VM {self.name} has no open channel")
        self._channel.send(message, timeout=_SEND_TIMEOUT)

    def close_channel(self) -> None:
        """End the handshake. Blocks."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _from_event_loop(self, message: dict[str, Any] | GuestError) -> None:
        self._reactor.callFromThread(self._received, message)

    def _received(self, message: dict[str, Any] | GuestError) -> None:
        if isinstance(message, GuestError):
            self._refuse(message)
        elif message.get("type") == "failed":
            reason = str(message.get("reason"))[:_MAX_REASON]
            brief = f"the launcher in VM {self.name} failed: {reason}"
            self._refuse(GuestError(brief, gist=reason))
        else:
            self._hear(str(message.get("type")), message)

    def _hear(self, type_: str, message: dict[str, Any]) -> None:
        if type_ not in _MESSAGES:
            return
        if type_ == "waiting":
            launcher = str(message.get("launcher"))
            self.launcher = launcher if _VERSION.fullmatch(launcher) else _UNKNOWN
            self.can_be_saved = message.get("saves") is True
            self.can_rehearse = message.get("rehearses") is True
            self.can_speak_tls = message.get("tls") is True
            self.has_channel = message.get("channel") == VERSION
            self.has_proxy = message.get("proxy") == VERSION
        self._heard.add(type_)
        said = self._said.get(type_)
        if said is not None and not said.called:
            said.callback(None)

    def _refuse(self, error: GuestError) -> None:
        self._refusal = self.with_console(error)
        for said in tuple(self._said.values()):
            _fail(said, self._refusal)

    def _fail_expected(self, reason: str, *, powered_off: bool) -> None:
        if powered_off and (panic := self.console.panic()):
            reason = f"the guest's kernel panicked: {panic}"
        if self._end is None:
            self._end = self.with_console(GuestError(f"VM {self.name} is gone: {reason}"))
            self.console.finish(reason)
        expected, self._expected = self._expected, []
        for deferred in expected:
            _fail(deferred, self._end)


_SILENT_CONSOLE = "Its serial console said nothing."


def _fail(deferred: Deferred[Any], error: Exception) -> None:
    if not deferred.called:
        deferred.errback(error)
