# SPDX-License-Identifier: GPL-2.0-only
"""Worker names that two would have, as ``buildbot checkconfig`` tells them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

POOL = """
master: {max_vms: 2}
hosts: {here: {uri: "test:///default", slots: 4, storage_pool: default}}
labels: {small: {image: debian-12}}
"""

MASTER_CFG = """
from buildbot.plugins import schedulers, util, worker
from latent_libvirt import Pool
pool = Pool.from_yaml("pool.yaml")
other = Pool.from_yaml("pool.yaml", name="other")
c = BuildmasterConfig = {{"buildbotNetUsageData": None}}
c["protocols"] = {{"pb": {{"port": "tcp:0:interface=127.0.0.1"}}}}
c["schedulers"] = [schedulers.ForceScheduler("force", builderNames=["b"])]
c["services"] = {services}
c["workers"] = {workers}
c["builders"] = [
    util.BuilderConfig("b", workernames=pool.worker_names({label!r}), factory=util.BuildFactory())
]
"""


def told(
    directory: Path,
    *,
    services: str = "[pool]",
    workers: str = "pool.workers()",
    label: str = "small",
) -> str:
    """Return what checkconfig says of such a master."""
    (directory / "pool.yaml").write_text(POOL)
    text = MASTER_CFG.format(services=services, workers=workers, label=label)
    (directory / "master.cfg").write_text(text)
    command = [str(Path(sys.executable).with_name("buildbot")), "checkconfig", "master.cfg"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert ("Config file is good!" in done.stdout) == (done.returncode == 0)
    return done.stdout + done.stderr


def test_names_that_are_taken_once_are_good(tmp_path: Path) -> None:
    assert "Config file is good!" in told(tmp_path)


@pytest.mark.parametrize(
    ("services", "workers", "expected"),
    [
        (
            "[pool, other]",
            "pool.workers() + other.workers()",
            [
                "small-1, small-2",
                "label 'small' of pool 'latent_libvirt' and of label 'small' of pool 'other'",
                "`master: {name: ...}`",
            ],
        ),
        (
            "[pool]",
            "[worker.Worker('small-1', 'x')] + pool.workers()",
            ["small-1", "a Worker (small-1) and of label 'small' of pool 'latent_libvirt'"],
        ),
        (
            "[pool]",
            "[worker.Worker('Small-2', 'x')] + pool.workers()",
            ["Small-2", "a Worker (Small-2) and of label 'small' of pool 'latent_libvirt'"],
        ),
        ("[pool]", "pool.workers() * 2", ["listed twice in c['workers']: small-1, small-2"]),
        ("[pool, Pool.from_yaml('pool.yaml')]", "pool.workers()", ["Duplicate service name"]),
    ],
    ids=["two pools", "static worker", "another case", "twice", "one pool name"],
)
def test_what_would_end_the_start_of_a_master_is_told_by_checkconfig(
    tmp_path: Path, services: str, workers: str, expected: list[str]
) -> None:
    text = told(tmp_path, services=services, workers=workers)

    assert [part for part in expected if part not in text] == []


def test_a_label_that_is_misspelt_is_guessed(tmp_path: Path) -> None:
    assert "Did you mean 'small'?" in told(tmp_path, label="smal")
