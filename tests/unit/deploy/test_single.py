# SPDX-License-Identifier: GPL-2.0-only
"""The files of one master agree with each other, with Buildbot and with systemd.

tests/integration/deploy/test_wheel.py has ``buildbot checkconfig`` and a real build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from buildbot.config.master import FileLoader, MasterConfig

from latent_libvirt.config.load import load
from latent_libvirt.jobs.links import JobLinks
from latent_libvirt.jobs.service import JobApi
from private_files import write_secret
from strangers import may_a_stranger

DIRECTORY = Path(__file__).parents[3] / "deploy/single"
UNIT = DIRECTORY / "buildbot-master.service"
PROGRAM = "/opt/buildbot/bin/buildbot"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MasterConfig:
    """Return what Buildbot makes of the files in a master's directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("master.cfg", "pool.yaml"):
        shutil.copy(DIRECTORY / name, tmp_path)
    write_secret(tmp_path / "web.password", "a password")
    (tmp_path / "tokens.json").touch()
    return FileLoader(str(tmp_path), "master.cfg").loadConfig()


def test_buildbot_accepts_the_master_and_its_pool(config: MasterConfig) -> None:
    (builder,) = config.builders
    assert builder.workernames == [worker.name for worker in config.workers]
    assert config.protocols["pb"]["port"] == "tcp:9989:interface=127.0.0.1"
    assert any(isinstance(service, JobLinks) for service in config.services.values())


def test_nothing_is_served_before_a_login(config: MasterConfig) -> None:
    (api,) = (service for service in config.services.values() if isinstance(service, JobApi))
    assert may_a_stranger(config.www["authz"]) == []
    assert api._config_kwargs["read"] == "token"


def test_systemd_waits_longer_for_the_end_than_builds_have_to_finish() -> None:
    minutes = re.search(r"^TimeoutStopSec=(\d+)min$", UNIT.read_text(), re.MULTILINE)
    assert minutes is not None
    assert 60 * int(minutes[1]) > load(DIRECTORY / "pool.yaml").master.stop_within + 60


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    program = Path(sys.executable).with_name("buildbot")
    unit.write_text(UNIT.read_text().replace(PROGRAM, str(program)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
