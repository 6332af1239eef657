# SPDX-License-Identifier: GPL-2.0-only
"""A master that is cut off from the database while everything else goes on, and comes back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import relay
from buildmaster import wait_for
from installation import Installation
from latent_libvirt.multimaster import departure


class Way:
    """The way to the database for one master; what is sent while it is cut arrives afterwards."""

    def __init__(self, installation: Installation) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="llv-"))
        target = installation.postgresql.socket
        self.db_url = (
            sa.make_url(installation.db_url)
            .set(query={"host": str(self.directory)})
            .render_as_string()
        )
        self._relay = subprocess.Popen(
            [sys.executable, relay.__file__, str(self.directory / target.name), str(target)],
            stdout=subprocess.PIPE,
        )
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline() == b"ready\n"

    def cut(self) -> None:
        """Let nothing pass, without anybody being told."""
        self._relay.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Let everything pass again."""
        self._relay.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Leave nothing."""
        assert self._relay.stdout is not None
        self._relay.kill()
        self._relay.wait()
        self._relay.stdout.close()
        shutil.rmtree(self.directory)


@pytest.fixture
def way(installation: Installation) -> Iterator[Way]:
    """Give a way to the database that can be cut."""
    way = Way(installation)
    yield way
    installation.end()
    way.end()


def test_what_a_master_does_while_it_is_cut_off_does_not_count(
    installation: Installation, way: Way
) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first", db_url=way.db_url)
    installation.start(scheduler, first)
    job = scheduler.force(seconds="30")  # longer than it takes a master to start
    scheduler.wait_for_build(job)
    installation.start(installation.interface("second"))

    way.cut()
    wait_for("its command to succeed all the same", lambda: "elapsedTime: 30" in first.log)
    assert scheduler.wait_for_result(job) == "SUCCESS"
    assert first.status() is None
    way.mend()

    assert first.wait() == departure.STATUS
    assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert installation.state(first) == "dead"


def test_a_master_may_be_made_to_leave_when_it_is_cut_off(
    installation: Installation, way: Way
) -> None:
    first = installation.interface("first", db_url=way.db_url, settings="leave_when_cut_off=3")
    installation.start(first)

    way.cut()

    assert first.wait() == departure.STATUS
    assert "The database has not answered for 3 s" in first.log
