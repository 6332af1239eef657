# SPDX-License-Identifier: GPL-2.0-only
"""Logins of workers: what the log has of those that are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import DeferredLock
from twisted.logger import capturedLogs, formatEvent
from twisted.spread.pb import IPerspective

from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.port.dispatcher import GuardedDispatcher


class _Dispatcher(GuardedDispatcher):
    """The product's, with as much of a master as a login needs."""

    master = SimpleNamespace(initLock=DeferredLock())


@pytest.fixture
def password() -> SingleUsePassword:
    return SingleUsePassword()


@pytest.fixture
def dispatcher(password: SingleUsePassword) -> Any:
    dispatcher = _Dispatcher("tcp:0", "tcp:0")
    dispatcher.register("debian-12-1", password, None)
    return dispatcher


async def log_of_refused(dispatcher: Any, name: bytes, password: str) -> str:
    credentials = UsernamePassword(name, password.encode())
    with capturedLogs() as events, pytest.raises(UnauthorizedLogin):
        await dispatcher.portal.login(credentials, None, IPerspective)
    return "\n".join(filter(None, map(formatEvent, events)))


@pytest_twisted.ensureDeferred
async def test_the_worker_of_a_held_vm_is_turned_away_without_a_line(
    dispatcher: Any, password: SingleUsePassword
) -> None:
    spent = password.renew()
    for _later in range(3):
        password.renew()

    assert await log_of_refused(dispatcher, b"debian-12-1", spent) == ""


@pytest.mark.parametrize("name", [b"debian-12-1", b"somebody"])
@pytest_twisted.ensureDeferred
async def test_a_login_with_a_guessed_password_is_logged(dispatcher: Any, name: bytes) -> None:
    assert "invalid login" in await log_of_refused(dispatcher, name, "guessed")
