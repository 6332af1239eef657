# SPDX-License-Identifier: GPL-2.0-only
"""The demo as people run it: all of it once, and interrupted."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import children

MARK = "LATENT_LIBVIRT_TEST_RUN"  # in the environment of everything that a run starts
FORCE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "force", "params": {}}).encode()
DEADLINE = 60.0  # seconds to end after Ctrl-C; reached only by a test that fails


class Run:
    """A run of the demo in a process of its own, and what it has said so far."""

    def __init__(self, clone: Path, *options: str) -> None:
        self.id = uuid.uuid4().hex
        self._process = subprocess.Popen(
            [*children.WITH_US, sys.executable, "deploy/demo/run.py", *options],
            cwd=clone,
            env=os.environ | {MARK: self.id},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """Read on until a line has these words; return the line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            if words in line:
                return line
        pytest.fail(f"it never said {words!r}, but:\n{''.join(self.said)}")

    def send(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(which)

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.send(signal.SIGINT)
        rest, _ = self._process.communicate(timeout=DEADLINE)
        self.said.append(rest)
        return self._process.returncode

    def processes(self) -> set[str]:
        """Give the command lines of processes that this run started and that are still there."""
        mark = f"{MARK}={self.id}"
        processes = Path("/proc").glob("[0-9]*")
        return {_read(each / "cmdline") for each in processes if mark in _read(each / "environ")}

    def end(self) -> None:
        """Leave nothing running after a test that failed."""
        if self._process.poll() is None:
            self.interrupt()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").replace("\0", " ")
    except OSError:  # the process has ended, or belongs to somebody else
        return ""


@contextmanager
def _demo(pytestconfig: pytest.Config, *options: str) -> Iterator[Run]:
    run = Run(pytestconfig.rootpath, *options)
    try:
        yield run
    finally:
        run.end()


def _leftovers(cache: Path) -> set[Path]:
    return set(cache.glob("demo-*"))


def test_the_demo_succeeds_and_its_web_ui_stays_until_ctrl_c(
    pytestconfig: pytest.Config, cache: Path
) -> None:
    before = _leftovers(cache)
    with _demo(pytestconfig, "--keep") as run:
        line = run.until("its web UI: ")
        said = re.search(r"(http://127\.0\.0\.1:\d+/) \(user (\S+), password (\S+)\)", line)
        assert said is not None, line
        url, user, password = said.groups()
        run.until("stays until you press Ctrl-C")
        assert _status(f"{url}api/v2/builds") == 403
        assert _status(f"{url}api/v2/forceschedulers/force-clean", FORCE) == 403
        with _logged_in(url, user, password).open(f"{url}api/v2/builds?results=0") as answer:
            assert b'"total": 2' in answer.read()
        _, _, directory = run.until("its base directory: ").strip().partition(": ")
        run.until("Ctrl-C deletes the directory")
        for command in ("latent-libvirt status", "buildbot reconfig ."):
            (there,) = (line for line in run.said if command in line)
            done = subprocess.run(
                ["sh", "-c", there], cwd=directory, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert not Path(directory, "master.cfg").is_symlink()
        assert run.interrupt() == 0
        assert "nothing is left" in run.said[-1]
        assert run.processes() == set()
    assert _leftovers(cache) == before


def _status(url: str, data: bytes | None = None) -> int:
    """Return the status of the answer that somebody gets who is not logged in."""
    head = {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, head)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _logged_in(url: str, user: str, password: str) -> urllib.request.OpenerDirector:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    head = {"Authorization": f"Basic {credentials}"}
    opener.open(urllib.request.Request(f"{url}auth/login", headers=head)).close()
    return opener


def test_ctrl_c_during_a_build_leaves_nothing(pytestconfig: pytest.Config, cache: Path) -> None:
    before = _leftovers(cache)
    with _demo(pytestconfig) as run:
        run.until("/#/builders/")  # the build's page: its VM is being started
        assert "buildbot" in " ".join(run.processes())
        assert run.interrupt() == 130
        assert run.processes() == set()
    assert _leftovers(cache) == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_while_the_demo_stops_on_a_signal_changes_nothing(
    first: signal.Signals, pytestconfig: pytest.Config, cache: Path
) -> None:
    before = _leftovers(cache)
    with _demo(pytestconfig) as run:
        run.until("/#/builders/")
        run.send(first)
        run.until("✗ Build 'package'")  # the master is stopped next
        run.send(signal.SIGINT)
        run.until("stopping; this takes up to")
        assert run.interrupt() == 130
        assert "nothing is left behind" in run.said[-1]
        assert run.processes() == set()
    assert _leftovers(cache) == before


def test_a_run_removes_what_a_killed_one_left(pytestconfig: pytest.Config, cache: Path) -> None:
    abandoned = cache / "demo-abandoned"
    (abandoned / "libvirtd/storage").mkdir(parents=True)
    with _demo(pytestconfig) as run:
        run.until("Start a private libvirtd")
        assert not abandoned.exists()
