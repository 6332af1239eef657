# SPDX-License-Identifier: GPL-2.0-only
"""The password of a worker: good for one VM, and unknown to anybody at all other times.

Buildbot renders a registered password again at each login (``worker/protocols/manager/pb.py``), so
a renderable can change it without registering the worker again, which would close and open the
port.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from buildbot.interfaces import IRenderable
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from latent_libvirt.guest.protocol import new_password

_REMEMBERED: Final = 4
"""Passwords of VMs before."""


@dataclass
class Spent:
    """A password that was good for *vm*, and is no more.

    :param is_logged: whether the log has that somebody tried it again.
    """

    password: str = field(repr=False)
    vm: str
    is_logged: bool = False


@implementer(IRenderable)
class SingleUsePassword:
    """A password that renders to its current value."""

    def __init__(self) -> None:
        self._password = new_password()
        self._vm = ""
        self._spent: deque[Spent] = deque(maxlen=_REMEMBERED)

    def renew(self, vm: str = "") -> str:
        """Make the old password worthless; return the new one, which *vm* gets, if any."""
        if self._vm:
            self._spent.append(Spent(self._password, self._vm))
        self._password, self._vm = new_password(), vm
        return self._password

    def spent_by(self, credentials: Any) -> Spent | None:
        """Return the password of a VM that somebody logs in with, and that is good no more."""
        tried = (each for each in self._spent if credentials.checkPassword(each.password.encode()))
        return next(tried, None)

    def getRenderingFor(self, _properties: Any) -> Deferred[str]:
        """Return the password of this moment."""
        return succeed(self._password)


@implementer(IRenderable)
class Unrendered:
    """Renders to what it holds: a worker renders its password once when it is configured."""

    def __init__(self, held: SingleUsePassword) -> None:
        self._held = held

    def getRenderingFor(self, _properties: Any) -> Deferred[SingleUsePassword]:
        """Return the password, not its value."""
        return succeed(self._held)
