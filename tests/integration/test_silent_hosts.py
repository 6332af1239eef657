# SPDX-License-Identifier: GPL-2.0-only
"""Hosts whose libvirtd is gone for a while, or answers nothing, under whole jobs.

docs/explanation/faults.md lists what happens.

Two hosts: what happens to one must not be felt on the other. How a connection notices and heals is
in ``host/test_connection.py``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster, wait_for
from lab import STORAGE_POOL, Lab
from latent_libvirt.images.local import LocalImage
from pools import UNTIL_TOLD, go_on, master_cfg

COMMAND = Path(sys.executable).with_name("latent-libvirt")

FACTORY = f"""
from latent_libvirt.host.libvirtd import connection
connection.KEEPALIVE_INTERVAL = 1
{UNTIL_TOLD}
"""

WORKERS = """
from buildbot.plugins import worker
workers = [
    worker.LibvirtLatentWorker(f"worker-{number}", pool=pool, label=util.Property("label"))
    for number in range(3)
]
"""


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[tuple[Lab, Lab]]:
    """Give the two hosts to all tests of this module: each leaves them as they were."""
    directory = tmp_path_factory.mktemp("hosts")
    with (
        lab_module.running(directory / "alpha", cache=cache) as alpha,
        lab_module.running(directory / "beta", cache=cache) as beta,
    ):
        alpha.publish(image)
        beta.publish(image)
        yield alpha, beta


@pytest.fixture
def alpha(hosts: tuple[Lab, Lab]) -> Iterator[Lab]:
    """Give the host that something happens to."""
    yield hosts[0]
    wait_for("everything to be freed", lambda: not hosts[0].leftovers())


@pytest.fixture
def beta(hosts: tuple[Lab, Lab]) -> Iterator[Lab]:
    """Give the host that nothing happens to."""
    yield hosts[1]
    wait_for("everything to be freed", lambda: not hosts[1].leftovers())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory that each test's master has: so it has what the last one has saved."""
    return tmp_path_factory.mktemp("home") / "master"


@pytest.fixture
def configured(alpha: Lab, beta: Lab, home: Path, tmp_path: Path) -> Iterator[BuildMaster]:
    """Give a master with a label for each host; it does not run yet."""
    home.mkdir()
    (home / "pool.yaml").write_text(pool_yaml(alpha=alpha, beta=beta))
    master = BuildMaster(home, master_cfg(FACTORY, workers=WORKERS))
    yield master
    master.stop()
    shutil.move(home, tmp_path / "master")


@pytest.fixture
def master(configured: BuildMaster) -> BuildMaster:
    """Give that master, running."""
    configured.start()
    return configured


def pool_yaml(**hosts: Lab) -> str:
    entries = {
        name: {"uri": lab.uri, "slots": 2, "storage_pool": STORAGE_POOL, "accelerator": "tcg"}
        for name, lab in hosts.items()
    }
    labels = {f"on-{name}": {"image": "debian-12", "hosts": [name]} for name in hosts}
    return json.dumps(
        {"master": {"max_vms": 4, "address": "10.0.2.2"}, "hosts": entries, "labels": labels}
    )


# The moment at which the host stops to answer, recognised from outside.
MOMENTS: dict[str, Callable[[Lab, BuildMaster], object]] = {
    "a start": lambda lab, _: overlays(lab),
    "a build": lambda _, master: "pinging the worker" in master.log,
    "a tear-down": lambda _, master: "insubstantiating worker" in master.log,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_host_that_answers_nothing_for_a_while_holds_up_only_what_needs_it(
    alpha: Lab, master: BuildMaster, moment: str
) -> None:
    if moment == "a tear-down":
        go_on(master)
    job = master.force(label="on-alpha")
    closely(moment, lambda: MOMENTS[moment](alpha, master))

    with suspended(alpha):
        other = master.force(label="on-beta")
        # Later, the trouble is that of the next connection.
        assert "no sign of life" in wait_for("a reason", lambda: trouble(master, "alpha"))
        go_on(master)
        assert master.wait_for_result(other) == "SUCCESS"
        assert master.results(other) == ["SUCCESS"]

    assert master.wait_for_result(job) == "SUCCESS"
    if moment != "a start":
        assert master.results(job) == ["SUCCESS"]
    wait_for("everything to be freed", lambda: not alpha.leftovers())
    assert master.wait_for_result(master.force(label="on-alpha")) == "SUCCESS"


def test_a_host_that_answers_nothing_when_the_master_starts_is_used_once_it_does(
    alpha: Lab, configured: BuildMaster
) -> None:
    go_on(configured)
    with suspended(alpha):
        configured.start()
        job = configured.force(label="on-alpha")
        assert configured.wait_for_result(configured.force(label="on-beta")) == "SUCCESS"
        assert configured.builds(job) == []

    assert configured.wait_for_result(job) == "SUCCESS"
    assert configured.results(job) == ["SUCCESS"]


def test_jobs_for_a_host_whose_libvirtd_is_stopped_wait_until_it_is_started(
    alpha: Lab, master: BuildMaster
) -> None:
    go_on(master)
    alpha.sandbox.kill()
    wait_for("the host to be given up", lambda: not host(master, "alpha")["usable"])
    job = master.force(label="on-alpha")

    assert master.wait_for_result(master.force(label="on-beta")) == "SUCCESS"
    assert master.builds(job) == []

    alpha.sandbox.restart()

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["SUCCESS"]


def test_a_job_whose_vm_boots_while_libvirtd_is_stopped_and_started_runs_all_the_same(
    alpha: Lab, configured: BuildMaster
) -> None:
    alpha.delete_saved()
    go_on(configured)
    configured.start()
    job = configured.force(label="on-alpha")
    wait_for("the VM to boot", alpha.domains)

    alpha.sandbox.restart()

    assert configured.wait_for_result(job) == "SUCCESS"
    wait_for("everything to be freed", lambda: not alpha.leftovers())


def test_a_vm_whose_qemu_is_killed_under_a_build_is_told_and_the_job_runs_again(
    alpha: Lab, master: BuildMaster
) -> None:
    job = master.force(label="on-alpha")
    wait_for("the step to run", lambda: step_runs(master, job))

    alpha.sandbox.kill_domain("latent-libvirt-1")
    wait_for("the VM to be lost", lambda: master.results(job)[:1] == ["RETRY"])
    go_on(master)

    assert master.wait_for_result(job) == "SUCCESS"
    assert master.results(job) == ["RETRY", "SUCCESS"]
    assert "its QEMU process failed or was killed" in master.logs(master.builds(job)[0])


def step_runs(master: BuildMaster, job: int) -> bool:
    steps = [s for b in master.builds(job) for s in master.get(f"builds/{b['buildid']}/steps")]
    return any(step["name"] == "until told" and step["started_at"] for step in steps)


@contextlib.contextmanager
def suspended(lab: Lab) -> Iterator[None]:
    """Let libvirtd do nothing for the length of a ``with`` block."""
    lab.sandbox.suspend()
    try:
        yield
    finally:
        lab.sandbox.resume()


def closely(what: str, condition: Callable[[], object]) -> None:
    """Wait for what may be over within milliseconds."""
    give_up_at = time.monotonic() + buildmaster.DEADLINE
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.002)


def overlays(lab: Lab) -> list[Path]:
    """Return the overlays that there are, without asking libvirt."""
    return list((lab.sandbox.directory / "storage" / STORAGE_POOL).glob("*.overlay.*"))


def trouble(master: BuildMaster, name: str) -> str:
    """Return why a host is not usable, as the master says; empty if it is."""
    return str(host(master, name)["trouble"])


def host(master: BuildMaster, name: str) -> dict[str, Any]:
    """Return what the master says of a host; it must say it at once."""
    result = subprocess.run(
        [COMMAND, "status", "--json"],
        cwd=master.directory,
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    hosts: list[dict[str, Any]] = json.loads(result.stdout)["hosts"]
    return next(entry for entry in hosts if entry["name"] == name)
