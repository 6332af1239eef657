# SPDX-License-Identifier: GPL-2.0-only
"""Rights to act on pools from the page, by the rules of Buildbot's ``authz``.

Buildbot allows what no rule is about. Here, nobody may do what no rule allows: some rule has to
match, and the user has to have its role.
"""

from __future__ import annotations

from typing import Any, Final

from buildbot.www.auth import NoAuth
from buildbot.www.authz.authz import Forbidden
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase, Match
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger

from latent_libvirt.timers import passed
from latent_libvirt.upstream import sessions

log = Logger()

TERMINAL: Final = "terminal"
SCREEN: Final = "screen"

ACTIONS: Final = (
    *("drain", "undrain", "hold", "release", "thaw", "end", "refresh"),
    *(TERMINAL, SCREEN),
)
"""What may be done from the page: commands of the control socket, terminals and screens."""

_PART_OF: Final = {"cancel_hold": "hold", "cancel_thaw": "thaw"}
"""Commands that have no right, with the action whose right they need."""

READ: Final = "get"

ANONYMOUS: Final = "anonymous"
"""What a user without a login is called."""

SILENT_AFTER: Final = 60.0
"""Seconds without a pass after which nobody is believed to be logged in at a browser."""

_OURS: Final = ("latent_libvirt", "pools")


def endpoint(pool: str = "") -> tuple[str, ...]:
    """Return the endpoint that rules are asked about."""
    return (*_OURS, pool) if pool else _OURS


class PoolEndpointMatcher(EndpointMatcherBase):
    """A rule for ``c["www"]["authz"]``: who may act on pools from the page of VMs.

    :param role: the role that a user needs.
    :param action: a pattern of what is allowed: ``drain``, ``undrain``, ``hold``, ``release``,
        ``thaw``, ``end``, ``refresh``, ``terminal``, ``screen``.
    :param pool: a pattern of the pools' names.
    """

    def __init__(
        self,
        role: str,
        action: str = "*",
        pool: str = "*",
        *,
        defaultDeny: bool = True,  # noqa: N803 - Buildbot's
    ) -> None:
        super().__init__(role=role, defaultDeny=defaultDeny)
        self.action = action
        self.pool = pool

    def match(
        self, ep: Any, action: str = READ, options: dict[str, Any] | None = None
    ) -> Deferred[Match | None]:
        """Match what somebody wants to do with a pool, and not what somebody wants to see."""
        del options
        name = ep[2] if len(ep) > len(_OURS) else ""
        is_ours = tuple(ep[: len(_OURS)]) == _OURS and action in ACTIONS
        if is_ours and self._fits(action, self.action) and self._fits(name, self.pool):
            return succeed(Match(self.master))
        return succeed(None)

    def _fits(self, value: str, pattern: str) -> bool:
        return bool(self.authz.match(value, pattern))


def action_of(command: str) -> str:
    """Return the action whose right a user needs for a command."""
    return _PART_OF.get(command, command)


async def check_read(www: Any, request: Any) -> None:
    """See that the user may see the page.

    :raises Forbidden: else.
    """
    await www.assertUserAllowed(request, endpoint(), READ, {})


async def check(www: Any, request: Any, pool: str, action: str) -> None:
    """See that the configuration allows the user to do that to the pool of that name.

    :raises Forbidden: else.
    """
    user = www.getUserInfos(request)
    try:
        await _check(www, user, pool, action)
    except Forbidden as error:
        why = await _explained(www, user, pool, action, error)
        raise Forbidden(why.encode()) from None


async def _explained(
    www: Any, user: dict[str, Any], pool: str, action: str, error: Forbidden
) -> str:
    """Return why a user may not do something, and what would allow it."""
    name, wanted = called(user), f'the action "{action}" in pool {pool}'
    if name != ANONYMOUS:
        lacks = f"user {name[:50]} lacks {wanted}: {forbidden(error)}"
        if roles := [rule.role for rule in await _rules_for(www.authz, pool, action)]:
            return f"{lacks}. The configuration gives it to: {', '.join(map(str, roles))}"
        rule = f'util.PoolEndpointMatcher(role=..., action="{action}")'
        return f"{lacks}. The configuration has no rule for it, like {rule}"
    if isinstance(getattr(www, "auth", None), NoAuth):
        return f'{wanted} needs a login, and c["www"] of the master has no "auth"'
    return f'nobody is logged in, and {wanted} needs a role. Log in by "Login" in Buildbot\'s menu'


def forbidden(error: Forbidden) -> str:
    """Return why Buildbot's rules refuse something."""
    message = error.message
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)


async def _check(www: Any, user: dict[str, Any], pool: str, action: str) -> None:
    where = endpoint(pool)
    authz = www.authz
    await authz.assertUserAllowed(where, action, {}, user)
    roles = authz.getRolesFromUser(user)
    for rule in await _rules_for(authz, pool, action):
        if any(authz.match(role, rule.role) for role in roles):
            return
    raise Forbidden(b"no rule of the configuration is for that and for a role of the user")


async def _rules_for(authz: Any, pool: str, action: str) -> list[Any]:
    """Return the rules that are for an action in a pool."""
    where = endpoint(pool)
    matches = [await maybeDeferred(rule.match, where, action, {}) for rule in authz.allowRules]
    return [
        rule for rule, match in zip(authz.allowRules, matches, strict=True) if match is not None
    ]


def called(user: dict[str, Any]) -> str:
    """Return what a user is called, of whom Buildbot knows that."""
    names = (user.get(field) for field in ("username", "email", "full_name"))
    return str(next((name for name in names if name), ANONYMOUS))


class Holder:
    """A user who does something for longer than one request, as at a terminal.

    :param pool: the id of the pool.
    """

    def __init__(self, master: Any, request: Any, pool: str) -> None:
        self.reactor = master.reactor
        self._www = master.www
        self._user = master.www.getUserInfos(request)
        self._pool = pool.partition("/")[2]
        self._shown_at = passed(self.reactor)

    @property
    def is_silent(self) -> bool:
        """Whether the browser has not shown for long who is logged in."""
        return passed(self.reactor) - self._shown_at > SILENT_AFTER

    def shows(self, text: bytes) -> bool:
        """Take a pass of the browser's; return whether it is not another user's."""
        user = sessions.user_of(self._www, text)
        if user is None:
            return True  # one that came late: the next one counts
        self._shown_at = passed(self.reactor)
        return user == called(self._user)

    async def may(self, action: str) -> bool:
        """Return whether the rules allow that now. Rules that fail allow nothing."""
        try:
            await _check(self._www, self._user, self._pool, action)
        except Forbidden:
            return False
        except Exception:  # noqa: BLE001 - such as a mistake in a rule of the configuration
            log.failure("the rules of the page of VMs")
            return False
        return True


async def allowed(www: Any, request: Any, pool: str) -> list[str]:
    """Return what the user may do to the pool of that name."""
    return [action for action in ACTIONS if await _may(www, request, pool, action)]


async def _may(www: Any, request: Any, pool: str, action: str) -> bool:
    try:
        await check(www, request, pool, action)
    except Forbidden:
        return False
    return True
