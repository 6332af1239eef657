# SPDX-License-Identifier: GPL-2.0-only
"""The password of a worker: good for one VM, and unknown to anybody at all other times.

Buildbot renders a registered password again at each login (``worker/protocols/manager/pb.py``), so
a renderable can change it without registering the worker again, which would close and open the
port.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from buildbot.interfaces import IRenderable
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from latent_libvirt.guest.protocol import new_password

_REMEMBERED: Final = 12
"""Passwords, of which each VM spends three."""


@implementer(IRenderable)
class SingleUsePassword:
    """A password that renders to its current value."""

    def __init__(self) -> None:
        self._password = new_password()
        self._spent: deque[str] = deque(maxlen=_REMEMBERED)

    def renew(self) -> str:
        """Make the old password worthless; return the new one."""
        self._spent.append(self._password)
        self._password = new_password()
        return self._password

    def was_good(self, credentials: Any) -> bool:
        """Whether somebody logs in with a password that was good for a VM before, as a held one."""
        return any(credentials.checkPassword(each.encode()) for each in self._spent)

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
