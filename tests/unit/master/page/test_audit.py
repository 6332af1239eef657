# SPDX-License-Identifier: GPL-2.0-only
"""The audit log of the page: no client hides what another one has tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from latent_libvirt.master.page.audit import (
    MOST_SUMMED_UP,
    REFUSED_A_MINUTE,
    SUMMED_UP_AFTER,
    PageAudit,
)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what is written; a thread would write it later."""
    found: list[dict[str, Any]] = []

    def write(_audit: PageAudit, text: str) -> Deferred[None]:
        found.append(json.loads(text))
        return succeed(None)

    monkeypatch.setattr(PageAudit, "_write", write)
    return found


def tried(audit: PageAudit, user: str, address: str, times: int = 1) -> None:
    for _try in range(times):
        audit.note({"user": user, "from": address, "command": "end"}, "refused", "no rule")


@pytest.mark.parametrize(
    ("noisy", "others"),
    [
        (("anonymous", "192.0.2.1"), [("anonymous", "192.0.2.2"), ("otto", "192.0.2.1")]),
        (("olga", "192.0.2.1"), [("otto", "192.0.2.1"), ("anonymous", "192.0.2.1")]),
    ],
)
def test_a_noisy_client_hides_nothing_of_others_and_its_tries_are_counted(
    lines: list[dict[str, Any]], noisy: tuple[str, str], others: list[tuple[str, str]]
) -> None:
    clock: Any = Clock()
    audit = PageAudit(Path("/nowhere"), clock)
    tried(audit, *noisy, times=REFUSED_A_MINUTE + 500)
    for other in others:
        tried(audit, *other)

    assert len(lines) == REFUSED_A_MINUTE + len(others)
    assert [(line["user"], line["from"]) for line in lines[REFUSED_A_MINUTE:]] == others

    clock.advance(SUMMED_UP_AFTER)
    line = lines[-1]
    assert (line["user"], line["from"]) == noisy
    assert (line["outcome"], line["left_out"]) == ("refused", 500)
    assert not clock.getDelayedCalls()

    audit.note({"user": "olga", "from": "192.0.2.1"}, "done")
    assert lines[-1]["outcome"] == "done"


def test_a_flood_from_everywhere_costs_a_bounded_number_of_lines(
    lines: list[dict[str, Any]],
) -> None:
    clock: Any = Clock()
    audit = PageAudit(Path("/nowhere"), clock)
    for number in range(5_000):
        tried(audit, "anonymous", f"10.0.{number // 250}.{number % 250}")
    tried(audit, "olga", "192.0.2.1")
    assert lines[-1]["user"] == "olga"
    written = len(lines)

    clock.advance(SUMMED_UP_AFTER)
    assert len(lines) - written == MOST_SUMMED_UP + 1
    assert sum(line.get("left_out", 1) for line in lines) == 5_001
