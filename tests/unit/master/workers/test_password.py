# SPDX-License-Identifier: GPL-2.0-only
"""A password that is good for one VM, tried on Buildbot's own dispatcher of worker connections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.process.properties import Properties
from buildbot.worker.protocols.manager.pb import Dispatcher
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredLock

from latent_libvirt.master.workers.password import (
    SingleUsePassword,
    Unrendered,
)


class _Dispatcher(Dispatcher):  # type: ignore[misc]
    """Buildbot's, with as much of a master as a login needs."""

    master = SimpleNamespace(initLock=DeferredLock())


@pytest.fixture
def password() -> SingleUsePassword:
    return SingleUsePassword()


@pytest.fixture
def dispatcher(password: SingleUsePassword) -> Any:
    dispatcher = _Dispatcher("tcp:0", "tcp:0")
    dispatcher.register("debian-12-1", password, None)
    return dispatcher


def login(dispatcher: Any, password: str) -> Deferred[bytes]:
    credentials = UsernamePassword(b"debian-12-1", password.encode())
    avatar: Deferred[bytes] = dispatcher.requestAvatarId(credentials)
    return avatar


@pytest_twisted.ensureDeferred
async def test_the_current_password_opens_the_door(
    dispatcher: Any, password: SingleUsePassword
) -> None:
    assert await login(dispatcher, password.renew()) == b"debian-12-1"


@pytest_twisted.ensureDeferred
async def test_a_renewed_password_is_worthless_without_registering_the_worker_again(
    dispatcher: Any, password: SingleUsePassword
) -> None:
    used = password.renew()
    password.renew()

    with pytest.raises(UnauthorizedLogin):
        await login(dispatcher, used)


@pytest_twisted.ensureDeferred
async def test_a_worker_that_renders_its_password_keeps_it_renewable(
    password: SingleUsePassword,
) -> None:
    """AbstractWorker.reconfigService does this with the password it is given."""
    assert await Properties().render(Unrendered(password)) is password


def test_a_password_that_was_good_for_a_vm_is_known_from_one_that_is_guessed(
    password: SingleUsePassword,
) -> None:
    used = password.renew("VM one")
    assert password.spent_by(UsernamePassword(b"debian-12-1", used.encode())) is None

    password.renew()
    password.renew("VM two")
    spent = password.spent_by(UsernamePassword(b"debian-12-1", used.encode()))
    assert spent is not None
    assert spent.vm == "VM one"
    assert used not in repr(spent)
    assert password.spent_by(UsernamePassword(b"debian-12-1", b"guessed")) is None
