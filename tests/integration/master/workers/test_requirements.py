# SPDX-License-Identifier: GPL-2.0-only
"""A pool that is not among the services, as ``buildbot checkconfig`` reports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

POOL = """
master: {max_vms: 2}
hosts: {here: {uri: "test:///default", slots: 4, storage_pool: default}}
labels: {small: {image: debian-12, max_vms: 1}}
"""
MASTER_CFG = """
from buildbot.plugins import schedulers, util, worker
from latent_libvirt import Pool
pool = Pool.from_yaml("pool.yaml")
c = BuildmasterConfig = {"buildbotNetUsageData": None}
c["protocols"] = {"pb": {"port": 9989}}
c["schedulers"] = [schedulers.ForceScheduler("force", builderNames=["b"])]
c["workers"] = pool.workers()
c["builders"] = [
    util.BuilderConfig("b", workernames=pool.worker_names("small"), factory=util.BuildFactory())
]
"""
POOL_IS_THERE = 'c["services"] = [pool]\n'


def checked(directory: Path, more: str) -> str:
    """Return what checkconfig says of such a master."""
    (directory / "pool.yaml").write_text(POOL)
    (directory / "master.cfg").write_text(MASTER_CFG + more)
    command = [str(Path(sys.executable).with_name("buildbot")), "checkconfig", "master.cfg"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_pool_among_the_services_is_good(tmp_path: Path) -> None:
    assert "Config file is good!" in checked(tmp_path, POOL_IS_THERE)


def test_a_pool_that_is_forgotten_is_reported_with_what_to_write(tmp_path: Path) -> None:
    expected = (
        "c['services'] lacks the pool 'latent_libvirt', which 1 worker needs; "
        "write, for example, c['services'] = [pool]"
    )

    assert expected in checked(tmp_path, "")


def test_workers_of_another_kind_need_no_pool(tmp_path: Path) -> None:
    other = 'c["workers"] = [worker.Worker("w", "p")]\nc["builders"][0].workernames = ["w"]\n'

    assert "Config file is good!" in checked(tmp_path, other)
