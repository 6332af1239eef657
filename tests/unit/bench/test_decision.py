# SPDX-License-Identifier: GPL-2.0-only
"""``make bench-decision``: its pool without Buildbot, half full."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from latent_libvirt.host.host import Host

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def decision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    found = importlib.import_module("decision")
    monkeypatch.setattr(found, "DECISIONS", 3)
    for name in ("start", "usable"):  # the benchmark replaces them for good
        monkeypatch.setattr(Host, name, Host.__dict__[name])
    return found


def test_a_question_and_the_end_of_a_vm_are_timed_while_half_of_the_slots_are_taken(
    decision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = decision.a_pool(2)
    monkeypatch.setattr(decision, "a_pool", lambda _count: pool)

    found = decision.by_hosts(2)

    assert len(pool.vm_pool.capacity.taken) == decision.SLOTS
    assert found["hosts"] == 2
    assert 0 < found["question"]["median"] <= found["question"]["high"]
    assert 0 < found["end"]["median"] <= found["end"]["high"]
