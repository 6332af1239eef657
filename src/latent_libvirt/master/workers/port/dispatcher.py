# SPDX-License-Identifier: GPL-2.0-only
"""Port for workers of Buildbot, whose connections are guarded."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from buildbot.util import bytes2unicode
from buildbot.worker.protocols.manager.pb import Dispatcher, PBManager
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from latent_libvirt.endpoints import certificate_of
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.port.broker import GuardedBroker

if TYPE_CHECKING:
    from latent_libvirt.master.workers.password import Spent

log = Logger()


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
    """Buildbot's check of passwords, with one line in the log for each VM whose password is spent.

    The worker in a held VM loses its connection as its job ends, and tries to log in again a few
    times before it gives up. So does one whose connection was lost, or that is too late.
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
        spent = password.spent_by(credentials) if isinstance(password, SingleUsePassword) else None
        if spent is not None:
            _log_once(name, spent)
            return fail(UnauthorizedLogin())
        answer: Deferred[Any] = self._dispatcher.requestAvatarId(credentials)
        return answer


def _log_once(name: str, spent: Spent) -> None:
    if not spent.is_logged:
        spent.is_logged = True
        log.info(
            "worker {name}: the login of VM {vm} is refused: its build is over, its connection was "
            "lost, or its start was given up; its further tries are not logged",
            name=name,
            vm=spent.vm,
        )


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
