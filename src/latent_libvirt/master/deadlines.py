# SPDX-License-Identifier: GPL-2.0-only
"""The deadline of functions and renderers in a ``master.cfg`` that decide whether builds may start.

Buildbot's distributor goes through builders one by one, and waits for each answer. One function
whose answer never comes (it asks a server that is silent) would stop the builds of all builders,
and the master could not stop either. What ends a program (``sys.exit()``, a cancelled task of
asyncio) would end the distributor for good.

A builder whose function was too late rests for a while: each further question would hold up all
others again. A reconfig ends the rest, since the function may be another one then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from buildbot.process.buildrequestdistributor import BuildRequestDistributor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.timers import passed

log = Logger()

DEADLINE = 20.0
"""Seconds that an answer may take. All builders wait for it."""

REST = 600.0
"""Seconds until a builder whose function was too late is tried again."""

_REST_OF = "_latent_libvirt_rest"
"""An attribute of a builder's configuration: until when it rests, and why."""


class TooLateError(Exception):
    """A function of a ``master.cfg`` has not answered in time."""


async def answer(builder: Any, what: str, ask: Callable[[], Any]) -> Any:
    """Return what *ask* returns, or what its Deferred or coroutine comes to.

    :param what: the function that *ask* calls, for people.
    :raises TooLateError: if there is no answer in time; *builder* rests from now on.
    """
    try:
        return await in_time(builder.master.reactor, ask)
    except TooLateError:
        why = _begin_rest(builder, what)
        raise TooLateError(why) from None


async def in_time(reactor: Any, ask: Callable[[], Any]) -> Any:
    """Return the answer of *ask*.

    :raises TooLateError: if it does not come in time.
    """
    is_late: list[bool] = []

    def give_up() -> None:
        is_late.append(True)
        asked.cancel()

    asked: Deferred[Any] = maybeDeferred(ask).addErrback(_as_exception)
    deadline = reactor.callLater(DEADLINE, give_up)
    try:
        found = await asked
    except Exception:
        if not is_late:
            raise
    finally:
        if deadline.active():
            deadline.cancel()
    if is_late:  # whatever it says now that it is given up
        raise TooLateError
    return found


def install() -> None:
    """Let builders be tried in any order if ``prioritizeBuilders`` does not say it in time.

    Buildbot asks it before the pool has started.
    """
    original = getattr(BuildRequestDistributor, "_sortBuilders", None)
    if original is None or hasattr(BuildRequestDistributor, "_latent_libvirt_rests_until"):
        return

    async def sort(self: Any, names: list[str]) -> list[str]:
        reactor = self.botmaster.master.reactor
        if passed(reactor) >= self._latent_libvirt_rests_until:
            try:
                return list(await in_time(reactor, lambda: original(self, names)))
            except TooLateError:
                self._latent_libvirt_rests_until = passed(reactor) + REST
                log.warn("prioritizeBuilders does not answer: any order will do for a while")
            except Exception:  # noqa: BLE001 - a function of master.cfg
                log.failure("prioritizeBuilders gives no list of builders: any order will do")
        return names

    BuildRequestDistributor._latent_libvirt_rests_until = float("-inf")  # noqa: SLF001 - ours
    BuildRequestDistributor._sortBuilders = sort  # noqa: SLF001 - there is no other hook


def why_resting(builder: Any) -> str:
    """Return why nothing is asked for *builder* at this moment; empty if it does not rest."""
    until, why = getattr(builder.config, _REST_OF, (None, ""))
    return why if until is not None and passed(builder.master.reactor) < until else ""


def _begin_rest(builder: Any, what: str) -> str:
    why = (
        f"{what} of builder {builder.name} has not answered within {DEADLINE:.0f} s: the builder "
        f"starts nothing for {REST / 60:.0f} min, or until a reconfig"
    )
    log.error("{why}", why=why)
    reactor = builder.master.reactor
    setattr(builder.config, _REST_OF, (passed(reactor) + REST, why))
    reactor.callLater(REST, builder.botmaster.maybeStartBuildsForBuilder, builder.name)
    return why


def _as_exception(failure: Failure) -> Failure:
    """Let what would end a program be an error like others."""
    if isinstance(failure.value, Exception):
        return failure
    error = RuntimeError(f"{type(failure.value).__name__}: {failure.value}")
    return Failure(error)  # type: ignore[no-untyped-call]
