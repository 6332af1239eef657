# SPDX-License-Identifier: GPL-2.0-only
"""The files to copy for several masters agree with each other, and with Buildbot."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from buildbot.config.master import FileLoader, MasterConfig

from latent_libvirt.jobs.service import JobApi
from latent_libvirt.multimaster import Common
from latent_libvirt.sandbox.router import SECRET_VARIABLE, configuration
from private_files import write_secret
from strangers import may_a_stranger

DIRECTORY = Path(__file__).parents[3] / "deploy/multimaster"
GUIDE = (DIRECTORY.parents[1] / "docs/explanation/several-masters.md").read_text()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let the environment be what ``ci.env`` says."""
    lines = (DIRECTORY / "ci.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name in ("CI_ROUTER_SECRET_FILE", "CI_WEB_PASSWORD_FILE"):
        values[name] = str(tmp_path / Path(values[name]).name)
        write_secret(Path(values[name]), 32 * "s")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def load(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> MasterConfig:
    """Return what Buildbot makes of a file that lies in a master's directory."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "ci", raising=False)
    shutil.copy(DIRECTORY / "ci.py", directory)
    shutil.copy(DIRECTORY / name, directory / "master.cfg")
    (directory / "tokens.json").touch()
    config: MasterConfig = FileLoader(str(directory), "master.cfg").loadConfig()
    return config


def test_buildbot_accepts_the_scheduler_master(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load("scheduler.cfg", tmp_path, monkeypatch)

    assert config.buildbotURL == environment["CI_URL"]
    assert config.www["port"] == environment["CI_WEB"]
    assert not config.workers


def test_buildbot_accepts_the_interface_master(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DIRECTORY / "pool.yaml", tmp_path)

    config = load("interface.cfg", tmp_path, monkeypatch)

    assert [worker.name for worker in config.workers] == [
        f"north-debian-12-{number}" for number in (1, 2, 3, 4)
    ]
    assert config.protocols["pb"]["port"] == environment["CI_WORKERS"]


def test_the_router_of_real_machines_is_the_one_that_is_tested() -> None:
    assert json.loads((DIRECTORY / "crossbar.json").read_text()) == configuration(8080)


def test_the_router_gets_its_secret_from_a_file_that_only_root_reads() -> None:
    unit = (DIRECTORY / "systemd/crossbar.service").read_text()

    assert "EnvironmentFile=/etc/buildbot/router.env" in unit
    assert SECRET_VARIABLE in unit
    assert "anonymous" not in (DIRECTORY / "crossbar.json").read_text()


def test_the_scheduler_master_serves_nothing_to_strangers(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load("scheduler.cfg", tmp_path, monkeypatch)
    (api,) = (service for service in config.services.values() if isinstance(service, JobApi))

    assert may_a_stranger(config.www["authz"]) == []
    assert api._config_kwargs["read"] == "token"


def test_a_supervisor_waits_longer_than_builds_may_take_to_finish() -> None:
    unit = (DIRECTORY / "systemd/buildbot-master@.service").read_text()
    (minutes,) = re.findall(r"^TimeoutStopSec=(\d+)min$", unit, re.MULTILINE)

    assert int(minutes) * 60 > Common.stop_within
    assert "Restart=always" in unit


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+\.py)`", GUIDE))))
def test_each_test_that_the_guide_names_is_there(name: str) -> None:
    places = ("integration/multimaster", "unit/multimaster")
    assert any((Path(__file__).parents[2] / place / name).exists() for place in places)
