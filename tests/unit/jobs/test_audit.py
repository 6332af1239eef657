# SPDX-License-Identifier: GPL-2.0-only
"""The audit log on disks of all kinds."""

from __future__ import annotations

import json
import os
import resource
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import ILogObserver, globalLogPublisher

from latent_libvirt.jobs import audit
from latent_libvirt.jobs.audit import AuditLog, append, line

FACTS = {"from": "192.0.2.1", "token": "ci", "method": "POST"}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    found: list[str] = []

    def observer(event: Any) -> None:
        if event["log_namespace"] == audit.log.namespace:
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(cast("ILogObserver", observer))
    yield found
    globalLogPublisher.removeObserver(cast("ILogObserver", observer))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in path.read_text("ascii").splitlines()]


def test_a_line_is_bounded_ascii_whatever_a_client_has_sent() -> None:
    hostile = "\x1b[2J\n\ud800\u202e" * 10_000
    text = line({**FACTS, "from": hostile, "builder": hostile, "secret": "x"}, 0, 403, "not-yours")

    assert text.isascii()
    assert text.count("\n") == 1
    assert len(text) < 4000
    record = json.loads(text)
    assert (record["outcome"], record["status"], record["problem"]) == ("refused", 403, "not-yours")
    assert record["time"] == "1970-01-01T00:00:00.000+00:00"
    assert "secret" not in record


def test_the_file_is_its_owners_alone_and_put_aside_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LARGEST", 10)
    monkeypatch.setattr(audit, "KEPT", 2)
    path = tmp_path / "audit.log"
    path.touch(0o644)
    for number in range(5):
        append(path, f"line number {number}\n")

    found = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert found == {
        "audit.log": "line number 4\n",
        "audit.log.1": "line number 3\n",
        "audit.log.2": "line number 2\n",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_logrotate_has_renamed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, "before\n")
    path.rename(tmp_path / "elsewhere")
    append(path, "after\n")
    assert path.read_text() == "after\n"


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_what_is_no_ordinary_file_is_refused_and_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.log"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "other")
    else:
        path.mkdir()
    with pytest.raises(OSError, match=r".+"):
        append(path, "x\n")


def test_a_disk_that_is_full_keeps_no_half_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    append(path, "whole\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="File too large"):
            append(path, "x" * 2000 + "\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "whole\n"


@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_is_told_once_and_again_when_it_works(
    tmp_path: Path, warnings: list[str]
) -> None:
    directory = tmp_path / "missing"
    journal = AuditLog(directory / "audit.log", reactor)
    for _ in range(3):
        journal.note(FACTS, 201, None)
        await journal.stop()
    assert [("cannot be written" in each) for each in warnings] == [True]

    directory.mkdir()
    journal.note(FACTS, 201, None)
    await journal.stop()

    assert "written again" in warnings[-1]
    (record,) = records(directory / "audit.log")
    assert record["left_out"] == 3


@pytest_twisted.ensureDeferred
async def test_a_flood_of_refusals_pushes_out_nothing_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("latent_libvirt.timers.time.monotonic", lambda: now)  # however long it took
    path = tmp_path / "audit.log"
    journal = AuditLog(path, reactor)
    for _ in range(3 * audit.LINES_A_MINUTE):
        journal.note({"from": "192.0.2.9", "method": "POST"}, 401, "no-valid-token")
    journal.note({"from": "192.0.2.9", "method": "GET"}, 200, None)  # anybody may see it
    journal.note(FACTS, 201, None)
    await journal.stop()

    found = records(path)
    assert len(found) <= audit.LINES_A_MINUTE + 10
    assert (found[-1]["status"], found[-1]["token"]) == (201, "ci")
    assert found[-1]["left_out"] + len(found) == 3 * audit.LINES_A_MINUTE + 1


@pytest_twisted.ensureDeferred
async def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    journal = AuditLog(None, reactor)
    journal.note(FACTS, 201, None)
    await journal.stop()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib is not for coroutines


@pytest_twisted.ensureDeferred
async def test_one_address_hides_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("latent_libvirt.timers.time.monotonic", lambda: now)  # however long it took
    path = tmp_path / "audit.log"
    journal = AuditLog(path, reactor)
    for _ in range(2 * audit.OF_AN_ADDRESS):
        journal.note({"from": "192.0.2.9", "method": "POST"}, 401, "no-valid-token")
    journal.note({"from": "192.0.2.10", "method": "POST"}, 401, "no-valid-token")
    await journal.stop()

    *_, last = records(path)
    assert (last["from"], last["left_out"]) == ("192.0.2.10", audit.OF_AN_ADDRESS)
