# SPDX-License-Identifier: GPL-2.0-only
"""Installation in a guest: one boot of a disk with a seed disk, from which a program runs.

In an image of another maker, cloud-init finds the seed disk and runs the program ``install`` on it.
In an image that has a launcher, a shell of root gets it typed. The program ends with the machine
off. What it says on the console is the verdict, see ``marks.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from latent_libvirt.advice import page
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.host import names

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.guests.console import Watch
    from latent_libvirt.importing.marks import Marks
    from latent_libvirt.importing.private_host import PrivateHost

_GRACE: Final = 30.0
"""Seconds from the prompt for a login until cloud-init counts as missing. It reads the seed disk
before that prompt appears."""

_SHELL: Final = 180.0
"""Seconds from a launcher that waits until nothing counts as a shell on the console."""

_TYPE_AGAIN: Final = 5.0
"""Seconds until the command is typed again: nobody reads a console before its shell is there."""

_NO_CLOUD_INIT: Final = (
    "An import needs cloud-init with the data source NoCloud, as cloud images have it. Take the "
    "distribution's cloud image, or prepare the disk by hand: "
)
_ONLY_LONGER: Final = "If the console shows that the guest only needs longer, raise --timeout. "
_NO_SHELL: Final = (
    "A base needs a launcher that waits and a shell of root on its serial console, as images have "
    "that are built or imported here. Import the disk of another one again, with what it lacks."
)
_NOTHING_BOOTS: Final = "UEFI finds no boot loader for x86-64 on the disk"
_X86: Final = "Take the image of the distribution for x86-64 (amd64)."
_OWN: Final = ("installing your packages", "running your script")
_SEE: Final = "The console shows why. Change what you asked for, and repeat the command."
_PAGE: Final = "docs/how-to/bring-your-own-image.md"


def _cancelled(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):
        failure.raiseException()


class Installation:
    """One boot of the source, with the seed disk.

    :param marks: hears the console.
    :param timeout: seconds for all of it.
    :param typed: what is typed on the console to begin; empty if cloud-init begins.
    """

    def __init__(
        self, host: PrivateHost, *, marks: Marks, timeout: float, typed: bytes = b""
    ) -> None:
        self._host = host
        self._typed = typed
        self._marks = marks
        self._timeout = timeout

    async def run(self, plan: MachinePlan, flatten: Callable[[str], None]) -> None:
        """Boot the source, and wait until its machine is off.

        :param flatten: called in a thread with the name of the overlay that holds the result.
        :raises GuestError: if the installation fails, or is not done in time.
        """
        machine = self._host.host.new_machine(plan)
        try:
            await machine.prepare()
            await machine.clone()
            await machine.boot()
            await self._until_off(machine)
            record = plan.record
            overlay = names.OwnedVolume(record.owner_id, plan.slot, record.vm_id)
            flattened: Deferred[None] = deferToThread(flatten, str(overlay))
            await flattened
        finally:
            await self._host.host.discard(machine)

    async def _until_off(self, machine: Machine) -> None:
        guest = machine.guest
        end = guest.expect()
        watch = guest.console.watch(lambda: self._take(watch, end))
        typing = Deferred.fromCoroutine(self._type(machine, end))
        try:
            await end.addTimeout(self._timeout, self._host.reactor)
        except GuestError as error:
            self._take(watch, end)
            if not self._marks.done:
                raise guest.with_console(self._why(error)) from None
        except defer.TimeoutError:
            raise guest.with_console(self._too_slow()) from None
        finally:
            guest.console.unwatch(watch)
            typing.addErrback(_cancelled)
            typing.cancel()

    async def _type(self, machine: Machine, end: Deferred[Any]) -> None:
        """Type the command until it has begun."""
        if not self._typed:
            return
        try:
            await machine.until_waiting(self._timeout)
            give_up = time.monotonic() + _SHELL
            while not self._marks.begun:
                if time.monotonic() > give_up:
                    raise GuestError("no shell answers on its serial console")
                await machine.write_to_console(self._typed)
                await deferLater(self._host.reactor, _TYPE_AGAIN, lambda: None)
        except LatentLibvirtError as error:
            if not (end.called or self._marks.begun):
                end.errback(GuestError(error.brief, details=error.details))

    def _take(self, watch: Watch, end: Deferred[Any]) -> None:
        output = watch.take()
        if output is None:
            return
        asked_before = self._marks.asks_for_login
        self._marks.feed(output.data)
        asks_now = self._marks.asks_for_login and not asked_before
        if asks_now and not (self._marks.begun or self._typed):
            self._host.reactor.callLater(_GRACE, partial(self._give_up, end))
        if self._marks.boots_nothing and not (end.called or self._marks.begun):
            end.errback(GuestError(_NOTHING_BOOTS))

    def _give_up(self, end: Deferred[Any]) -> None:
        if not end.called and not self._marks.begun:
            end.errback(GuestError("it asks for a login"))

    def _why(self, error: GuestError) -> GuestError:
        marks = self._marks
        if marks.failure:
            brief = f"the disk cannot become an image: {marks.failure}"
            is_own = marks.stage in _OWN
            return GuestError(
                brief, resolution=_SEE if is_own else f"What an image needs: {page(_PAGE)}"
            )
        if marks.begun:
            where = f" while it was {marks.stage}" if marks.stage else ""
            return GuestError(
                f"the installation ended too soon{where}: {error.brief}",
                resolution="See the console. A disk that was full needs a larger --disk.",
            )
        if marks.boots_nothing:
            return GuestError(_NOTHING_BOOTS, resolution=_X86)
        if self._typed:
            brief = f"nothing could be done in a VM of the base: {error.brief}"
            return GuestError(brief, resolution=_ONLY_LONGER + _NO_SHELL)
        return GuestError(
            "cloud-init did not run in the guest: " + error.brief,
            resolution=_NO_CLOUD_INIT + page(_PAGE),
        )

    def _too_slow(self) -> GuestError:
        marks = self._marks
        if marks.begun:
            brief = f"the installation took longer than {self._timeout:g} s"
            where = f"It was {marks.stage}." if marks.stage else None
            return GuestError(brief, details=where, resolution="Raise --timeout.")
        if self._typed:
            brief = f"nothing could be done in a VM of the base within {self._timeout:g} s"
            return GuestError(brief, resolution=_ONLY_LONGER + _NO_SHELL)
        return GuestError(
            f"cloud-init did not run in the guest within {self._timeout:g} s",
            resolution=_ONLY_LONGER + _NO_CLOUD_INIT + page(_PAGE),
        )
