# SPDX-License-Identifier: GPL-2.0-only
"""The command line, against a real master."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildmaster import DEADLINE
from job_masters import JobMaster

COMMAND = Path(sys.executable).with_name("latent-libvirt")


class User:
    """Somebody with a token, at a command line."""

    def __init__(self, master: JobMaster, directory: Path) -> None:
        self._master = master
        file = directory / "token"
        file.touch(0o600)
        file.write_text(master.token)
        self.environment = {
            "LATENT_LIBVIRT_JOBS_URL": master.jobs_url,
            "LATENT_LIBVIRT_TOKEN_FILE": str(file),
        }

    def job(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command; return what became of it."""
        return subprocess.run(
            [COMMAND, "job", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env=os.environ | self.environment,
        )


@pytest.fixture
def user(master: JobMaster, tmp_path: Path) -> User:
    return User(master, tmp_path)


def test_a_job_is_started_and_waited_for(user: User) -> None:
    good = user.job("submit", "--builder", "check", "--property", "word=hello")
    bad = user.job("submit", "--builder", "fail")

    assert (good.returncode, bad.returncode) == (0, 3)
    assert "success" in good.stdout
    assert "check: finished" in good.stderr.splitlines()[-1]


def test_a_job_is_watched_by_one_and_cancelled_by_another(user: User, master: JobMaster) -> None:
    job = json.loads(user.job("submit", "--builder", "slow", "--no-wait", "--json").stdout)
    master.wait_for_state(job["uuid"], "running")

    assert "being cancelled" in user.job("cancel", job["uuid"]).stdout

    assert user.job("watch", job["uuid"]).returncode == 5
    assert json.loads(user.job("status", job["uuid"], "--json").stdout)["result"] == "cancelled"
    assert job["uuid"] in user.job("list", "--result", "cancelled").stdout


def test_what_is_refused_is_told(user: User) -> None:
    refused = user.job("submit", "--builder", "chekc")
    assert refused.returncode == 1
    assert "no active master has a builder 'chekc'" in refused.stderr
    assert "Nothing was started" in refused.stderr
