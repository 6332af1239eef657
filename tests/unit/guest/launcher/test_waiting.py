# SPDX-License-Identifier: GPL-2.0-only
"""Waiting, until a result or a deadline."""

from __future__ import annotations

from latent_libvirt.guest.launcher.waiting import poll_for


def poll_until(value: object, deadline: float) -> tuple[object, int]:
    calls = 0

    def condition() -> object:
        nonlocal calls
        calls += 1
        return value if calls == 3 else None

    return poll_for(condition, deadline), calls


def test_polling_ends_with_the_first_result() -> None:
    assert poll_until("there", 60.0) == ("there", 3)


def test_polling_ends_at_the_deadline() -> None:
    assert poll_until("there", 0.0)[0] is None
