# SPDX-License-Identifier: GPL-2.0-only
"""The clock of a run goes on whatever is done to the machine's."""

from __future__ import annotations

import time

import pytest

from latent_libvirt.stress import clock


def test_it_is_the_time_of_day_until_somebody_sets_that(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    assert abs(clock.now() - before) < 60

    monkeypatch.setattr(time, "time", lambda: before - 86_400)

    assert clock.now() >= before - 60
