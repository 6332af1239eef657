# SPDX-License-Identifier: GPL-2.0-only
"""Saved states that cannot be read are in the way of no other.

libvirt is a fake: none can be brought to fail in each of these ways.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from latent_libvirt.errors import HostError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import state_io
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.host.volumes import storage

OWNER = "0123456789ab"
BAD, GOOD = (OwnedVolume(OWNER, slot, 16 * str(slot), key="0" * 24) for slot in (1, 2))
STATE = SavedState(GOOD, VmRecord(OWNER, "m", "p", GOOD.vm_id, "l", "w", "i", ""), "", "/state", 1)


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this code."""

    def __init__(self, code: int) -> None:
        self.err = (code, 0, "why", 0, "", "", "", 0, 0)

    def __str__(self) -> str:
        return "why"


ERRORS = [
    *map(Error, (libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_OPERATION_INVALID)),
    *map(Error, (libvirt.VIR_ERR_NO_MEMORY, libvirt.VIR_ERR_SYSTEM_ERROR)),
    libvirt.libvirtError("no code"),
    HostError("its XML cannot be read"),
    SystemError(),
]


def states(monkeypatch: pytest.MonkeyPatch, error: Exception, *, answers: bool) -> list[SavedState]:
    """Return what is found where one of two fails like this.

    :param answers: whether the connection lives.
    """

    def read(_pool: object, name: OwnedVolume) -> SavedState | None:
        if name == BAD:
            raise error
        return STATE

    connection: Any = SimpleNamespace(isAlive=lambda: answers)
    pool = SimpleNamespace(connect=lambda: connection)
    monkeypatch.setattr(state_io, "read", read)
    monkeypatch.setattr(storage, "storage_pool", lambda *_: pool)
    return state_io.read_all(connection, "default", [BAD, GOOD])


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_one_that_cannot_be_read_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert states(monkeypatch, error, answers=True) == [STATE]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_of_a_host_that_does_not_answer_any_more_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)):
        states(monkeypatch, error, answers=False)
