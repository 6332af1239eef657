# SPDX-License-Identifier: GPL-2.0-only
"""A real package is built and tested in VMs whose only network device is ``lo``.

The host is this machine, or is reached by ssh or by TLS. The VMs boot, are resumed, or are spares.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import buildmaster
import lab as lab_module
import remotes
from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from latent_libvirt.guest.launcher.link.device import MASTER_GONE
from latent_libvirt.host.names import WORKER_CHANNEL_NAME
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool
from remotes import TlsListener

PACKAGE = "simplejson-3.19.3.tar.gz"
REQUIREMENT = (
    "simplejson==3.19.3"
    " --hash=sha256:8e086896c36210ab6050f2f9f095a5f1e03c83fa0e7f296d6cba425411364680\n"
)
FEWEST_TESTS = 100

DEADLINE = 1800.0
"""Seconds that anything may take, on a machine that does other things."""

COLD = """
cold:
  image: image
  memory: 512MiB
  network: none
  start: boot
  boot_timeout: 10m
  attach_timeout: 5m
  max_vms: 1
"""

SETTINGS = PoolSettings(
    slots=1,
    label_max_vms=1,
    network="none",
    connection="channel",
    start="resume",
    boot_timeout="10m",
    attach_timeout="5m",
    other_labels=COLD,
)

BUILD = """
tar -xzf package.tar.gz --strip-components=1
DISABLE_SPEEDUPS=1 python3 setup.py --quiet build
mv build/lib* library
tar -cf built.tar library
"""

TEST = """
cd library
python3 -m unittest discover -s simplejson/tests -t . >../tests.log 2>&1
"""

FACTORY = f"""
def shell(name, command, **more):
    return steps.ShellCommand(name=name, command=["sh", "-ec", command], haltOnFailure=True, **more)

factory = util.BuildFactory([
    shell("devices", "echo devices: $(ls /sys/class/net)"),
    steps.FileDownload(mastersrc="{PACKAGE}", workerdest="package.tar.gz", haltOnFailure=True),
    shell("build", {BUILD!r}),
    shell("test", {TEST!r}, logfiles={{"tests": "tests.log"}}),
    steps.FileUpload(workersrc="built.tar", masterdest="built.tar"),
])
waiting = util.BuildFactory([shell("wait", "sleep 3600")])
"""

BUILDERS = """
builders = {"cold": ("cold", factory), "ready": ("debian-12", factory), "wait": ("cold", waiting)}
BuildmasterConfig["builders"] = [
    util.BuilderConfig(name=name, workernames=pool.worker_names(label), factory=of)
    for name, (label, of) in builders.items()
]
BuildmasterConfig["protocols"] = {"pb": {"port": "unix:workers"}}
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=list(builders))
]
"""


@pytest.fixture(scope="module")
def package(cache: Path) -> Path:
    """Give the sources of a package with many tests, downloaded once."""
    directory = cache / "packages"
    if not (directory / PACKAGE).exists():
        directory.mkdir(exist_ok=True)
        requirements = directory / "requirements.txt"
        requirements.write_text(REQUIREMENT)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        where = ["--no-binary=:all:", f"--dest={directory}", f"--requirement={requirements}"]
        subprocess.run([*pip, *where], check=True)
    return directory / PACKAGE


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> TlsListener:
    """Give the certificates of a host and a client."""
    return TlsListener.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
    cache: Path,
    image: LocalImage,
    listener: TlsListener,
) -> Iterator[Lab]:
    """Give a hypervisor that accepts TLS, too."""
    directory = tmp_path_factory.mktemp("lab")
    with lab_module.running(directory, cache=cache, listen=listener.settings) as running:
        running.publish(image)
        yield running


@pytest.fixture(params=["local", "ssh", "tls"])
def uri(
    request: pytest.FixtureRequest,
    lab: Lab,
    listener: TlsListener,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Give the way to the hypervisor."""
    if request.param == "ssh":
        with remotes.by_ssh(lab, tmp_path_factory.mktemp("r")) as found:
            yield found.uri
    elif request.param == "tls":
        with remotes.by_tls(listener) as found:
            yield found.uri
    else:
        yield lab.uri


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Path:
    """Give the directory of a master, whose saved state serves all ways to the hypervisor."""
    directory = tmp_path_factory.mktemp("master")
    shutil.copy(package, directory)
    return directory


def test_a_package_is_built_and_tested_without_a_network(lab: Lab, uri: str, home: Path) -> None:
    write_pool(home, uri, SETTINGS)
    with buildmaster.running(home, master_cfg(FACTORY) + BUILDERS) as master:
        wait_for("a saved state", lambda: is_saved(master), deadline=DEADLINE)
        see_it_built(master, "ready", way="resume")
        see_it_built(master, "cold", way="cold")
        write_pool(home, uri, replace(SETTINGS, label_keys="spares: 1"))
        spare = waiting_spare(master)
        master.kill()
        master.start()
        assert waiting_spare(master) == spare  # the master that begins again finds it
        see_it_built(master, "ready", way="spare")
        write_pool(home, uri, SETTINGS)
        wait_for("the spare to end", lambda: not status(master)["spares"], deadline=DEADLINE)
        wait_for("everything to be freed", lambda: not lab.leftovers(), deadline=DEADLINE)


def is_saved(master: BuildMaster) -> bool:
    """Whether the one slot has a saved state, so that the next VM is resumed."""
    (host,) = status(master)["hosts"]
    return bool(host["saved"])


def waiting_spare(master: BuildMaster) -> str:
    """Return the id of a spare once it waits."""

    def look() -> str:
        spares = status(master)["spares"]
        return next((vm["vm_id"] for vm in spares if vm["phase"] == "waiting"), "")

    return str(wait_for("a spare that waits", look, deadline=DEADLINE))


def see_it_built(master: BuildMaster, builder: str, *, way: str) -> None:
    """See that the package is built and tested in a VM that came that way."""
    before = len(leases(master))
    request = master.force(builder)
    result = master.wait_for_result(request, deadline=DEADLINE)
    (build,) = master.builds(request)
    assert result == "SUCCESS", (master.logs(build), master.log[-5000:])

    assert "devices: lo" in text_of(master, build, "devices", "stdio").splitlines()
    said = text_of(master, build, "test", "tests")
    (line,) = [line for line in said.splitlines() if line.startswith("Ran ")]
    assert int(line.split()[1]) > FEWEST_TESTS
    assert said.rstrip().splitlines()[-1].startswith("OK")
    with tarfile.open(master.directory / "built.tar") as built:
        assert "library/simplejson/decoder.py" in built.getnames()
    wait_for("the lease to end", lambda: len(leases(master)) > before)
    assert leases(master)[-1]["way"] == way


def leases(master: BuildMaster) -> list[dict[str, Any]]:
    path = master.directory / "leases.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def text_of(master: BuildMaster, build: dict[str, Any], name: str, log: str) -> str:
    (step,) = [s for s in master.get(f"builds/{build['buildid']}/steps") if s["name"] == name]
    logs = master.get(f"steps/{step['stepid']}/logs")
    (log_id,) = [each["logid"] for each in logs if each["name"] == log]
    return master.raw(f"logs/{log_id}/raw")


def test_a_guest_whose_master_is_gone_gives_up_after_the_documented_time(
    lab: Lab, tmp_path: Path
) -> None:
    write_pool(tmp_path, lab.uri, SETTINGS)
    with buildmaster.running(tmp_path, master_cfg(FACTORY) + BUILDERS) as master:
        request = master.force("wait")
        build = master.wait_for_build(request)
        wait_for("the step", partial(has_begun, master, build), deadline=DEADLINE)
        overlays = set(lab.overlays())
        master.kill()
        gone = time.monotonic()
        assert has_its_channel_open(lab)
        wait_for("its port to be closed", lambda: not has_its_channel_open(lab), deadline=DEADLINE)

        assert time.monotonic() - gone >= MASTER_GONE - 5
        assert set(lab.overlays()) == overlays  # for the next master, which frees it
        master.start()
        wait_for("its overlay to be deleted", lambda: not overlays & set(lab.overlays()))


def has_its_channel_open(lab: Lab) -> bool:
    """Whether the guest of the one VM has its end of the worker's channel open."""
    with lab.connection() as connection:
        (domain,) = connection.listAllDomains()
        document = etree.fromstring(domain.XMLDesc())
    (state,) = document.xpath(f"//channel/target[@name='{WORKER_CHANNEL_NAME}']/@state")
    return bool(state == "connected")


def has_begun(master: BuildMaster, build: dict[str, Any]) -> bool:
    steps = master.get(f"builds/{build['buildid']}/steps")
    return any(step["name"] == "wait" and step["started_at"] for step in steps)
