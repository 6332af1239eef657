# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's event loop goes on after an error, which libvirt cannot be made to report."""

from __future__ import annotations

import libvirt
import pytest
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.host.libvirtd import event_loop


class _EndedError(Exception):
    """The test is over."""


def test_the_event_loop_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([libvirt.libvirtError("bad descriptor"), None, _EndedError()])

    def turn() -> None:
        outcome = next(turns)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", turn)
    monkeypatch.setattr(event_loop, "AGAIN_AFTER", 0.0)

    with capturedLogs() as events, pytest.raises(_EndedError):
        event_loop._run()

    assert [formatEvent(event) for event in events] == [
        "libvirt's event loop: bad descriptor; it goes on"
    ]
