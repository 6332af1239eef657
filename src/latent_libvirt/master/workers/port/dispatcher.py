# SPDX-License-Identifier: GPL-2.0-only
"""Port for workers of Buildbot, whose connections are guarded."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from buildbot.util import bytes2unicode
from buildbot.worker.protocols.manager.pb import Dispatcher, PBManager
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from latent_libvirt.endpoints import certificate_of
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.port.broker import GuardedBroker


@implementer(IRealm)
class _Realm:
    """Buildbot's realm, which is asked once a password was right."""

    def __init__(self, realm: Any) -> None:
        self._realm = realm

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:  # noqa: N802
        broker = getattr(mind, "broker", None)
        avatar: Deferred[Any] = self._realm.requestAvatar(avatar_id, mind, *interfaces)
        if isinstance(broker, GuardedBroker):
            broker.password_was_right()
            avatar.addErrback(broker.turned_away)
        return avatar


@implementer(ICredentialsChecker)
class _Checker:
    """Buildbot's check of passwords, without its line in the log for a worker of a VM before.

    The worker in a held VM loses its connection as its job ends, and tries to log in again a few
    times before it gives up.
    """

    credentialInterfaces = Dispatcher.credentialInterfaces  # noqa: N815 - Twisted's

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:  # noqa: N802
        name = credentials.username
        if not isinstance(name, bytes | str):  # a stranger may say anything
            return fail(UnauthorizedLogin())
        name = bytes2unicode(name, errors="replace")
        password, _ = self._dispatcher.users.get(name, (None, None))
        if isinstance(password, SingleUsePassword) and password.was_good(credentials):
            return fail(UnauthorizedLogin())
        answer: Deferred[Any] = self._dispatcher.requestAvatarId(credentials)
        return answer


class GuardedDispatcher(Dispatcher):  # type: ignore[misc]
    """Buildbot's port for workers, guarded."""

    def __init__(self, config_portstr: Any, portstr: str) -> None:
        super().__init__(config_portstr, portstr)
        guard(self)


def guard(dispatcher: Dispatcher) -> None:
    """Guard the connections that *dispatcher* will have, and learn its certificate."""
    # A VM's start needs it, and fails with this error.
    with contextlib.suppress(ConfigurationError):
        certificate_of(dispatcher.portstr)
    dispatcher.portal.realm = _Realm(dispatcher)
    dispatcher.portal.registerChecker(_Checker(dispatcher))
    dispatcher.serverFactory.protocol = partial(_broker, dispatcher)


def _broker(dispatcher: Dispatcher, **keywords: Any) -> GuardedBroker:
    return GuardedBroker(reactor=dispatcher.master.reactor, **keywords)


def install() -> None:
    """Guard all ports for workers that this process is going to open."""
    PBManager.dispatcher_class = GuardedDispatcher


def guard_open_ports(manager: PBManager) -> None:
    """Guard the ports that were open before there was a pool."""
    for dispatcher in manager.dispatchers.values():
        if not isinstance(dispatcher, GuardedDispatcher):
            guard(dispatcher)
