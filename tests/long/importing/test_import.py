# SPDX-License-Identifier: GPL-2.0-only
"""Unmodified cloud images become images, run builds, and are resumed: ``make test-long``."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import buildmaster
import lab as lab_module
import latent_libvirt
from buildmaster import BuildMaster
from cloud_image import cloud_image
from imports import leftovers, processes, run
from latent_libvirt.config.units import GIB
from latent_libvirt.guest.launcher.version import launcher_version
from latent_libvirt.images import payload
from latent_libvirt.images.local import LocalImage, local_images
from latent_libvirt.images.programs import program
from latent_libvirt.images.programs import run as run_program
from pools import PoolSettings, master_cfg, write_pool

NAME = "cloud"
RELEASES = ("debian-11", "debian-12", "debian-12-networkmanager", "debian-13")
DEADLINE = 1800.0
"""Seconds for a job, on a machine that does other things. A stock system does much in its boot."""

FIRST_SECTOR = 2048
"""Of the root partition."""

GONE = (
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dbus/machine-id",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/var/lib/dhcp/dhclient.eth0.leases",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/timestamps",
    "/var/lib/cloud/instance",
    "/var/tmp/latent-libvirt-import",
)
"""What VMs must not share, or what is left of the import."""

WHAT_IT_IS = """
import glob, json, os, secrets, shutil, socket, sys
print(json.dumps({
    "urandom": os.urandom(16).hex(),
    "secrets": secrets.token_hex(16),
    "machine-id": open("/etc/machine-id").read().strip(),
    "boot": open("/proc/sys/kernel/random/boot_id").read().strip(),
    "host name": socket.gethostname(),
    "host keys": glob.glob("/etc/ssh/ssh_host_*"),
    "seeds": glob.glob("/var/lib/cloud/*") + glob.glob("/var/tmp/latent-libvirt-import*"),
    "disk": shutil.disk_usage("/").total,
    "user": os.environ["USER"],
    "mark": os.path.exists("/var/tmp/script-was-here"),
}))
"""

RENEW = "/usr/lib/latent-libvirt/renew-address"
"""It waits 8 s for NetworkManager, which does not suffice where many other tests run."""

FACTORY = f"""
factory = util.BuildFactory([
    steps.SetPropertyFromCommand(command=["python3", "-c", {WHAT_IT_IS!r}], property="facts"),
    steps.ShellCommand(name="root", command=["sudo", "-n", "true"], haltOnFailure=True),
    steps.ShellCommand(
        name="the address is still its own",
        command="for _ in 1 2 3 4 5; do sudo {RENEW} && exit 0; done; exit 1",
        haltOnFailure=True,
    ),
])
"""

PARTS = ("guest", "host", "images", "importing", "sandbox")
"""The packages that decide what an import makes."""

SCRIPT = "#!/bin/sh\ntouch /var/tmp/script-was-here\n"


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Give a release: 12 and 13 have netplan and systemd-networkd, 11 has ifupdown.

    One of 12 has NetworkManager in place of both.
    """
    return str(request.param)


@pytest.fixture(scope="module")
def cloud(cache: Path, release: str) -> Path:
    """Give the disk of a cloud image."""
    return cloud_image(cache, release)


@pytest.fixture(scope="module")
def imported(
    cache: Path, release: str, cloud: Path, tmp_path_factory: pytest.TempPathFactory
) -> LocalImage:
    """Give an image that was imported, with a script of the operator's.

    It takes a minute or two, so it is kept for as long as no code of an import is changed.
    """
    kept = cache / "imported" / release
    output = kept / fingerprint(cloud)
    if not (found := local_images(output, NAME)):
        for old in kept.glob("*"):
            shutil.rmtree(old)
        script = tmp_path_factory.mktemp("script") / "customise"
        script.write_text(SCRIPT)
        import_cloud(cloud, output, script)
        found = local_images(output, NAME)
    (image,) = found
    return image


def import_cloud(cloud: Path, output: Path, script: Path) -> None:
    status, out, err = run(cloud, "--name", NAME, "--output", output, "--run", script)

    assert (status, err) == (0, ""), out + err
    (image,) = local_images(output, NAME)
    assert str(image.directory) in out.replace("\n", "")
    assert leftovers(output) == {image.description.short_digest}
    assert processes(output) == []


def fingerprint(cloud: Path) -> str:
    """Return a hash of the disk and of all code that has a part in an import."""
    package = Path(latent_libvirt.__file__).parent
    files = [file for name in PARTS for file in (package / name).rglob("*.py")]
    files += [file for file in payload.source().rglob("*") if file.is_file()]
    digest = hashlib.sha256(f"{cloud.parent.name} {SCRIPT}".encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture
def master(imported: LocalImage, tmp_path: Path, cache: Path) -> Iterator[BuildMaster]:
    """Give a master whose one VM is of the imported image, and is resumed."""
    directory = tmp_path / "master"
    directory.mkdir()
    settings = PoolSettings(
        image=f"{{name: {NAME}}}",
        slots=1,
        label_max_vms=1,
        start="resume",
        memory="1GiB",
        boot_timeout="20m",
        attach_timeout="10m",
        label_keys="vcpus: 2",
    )
    with lab_module.running(tmp_path / "lab", cache=cache) as lab:
        published = lab.publish(imported)
        assert published.digest == imported.description.digest
        write_pool(directory, lab.uri, settings)
        with buildmaster.running(directory, master_cfg(FACTORY)) as running:
            yield running


def test_the_disk_has_nothing_that_vms_must_not_share(imported: LocalImage, tmp_path: Path) -> None:
    raw = tmp_path / "disk"
    qemu_img = program("qemu-img", package="qemu-utils")
    run_program([qemu_img, "convert", "-O", "raw", imported.path("disk"), raw])
    debugfs = program("debugfs", package="e2fsprogs")
    root = f"{raw}?offset={512 * FIRST_SECTOR}"

    def look(command: str) -> str:
        return subprocess.run(
            [debugfs, "-R", command, root], check=True, capture_output=True, text=True
        ).stdout

    assert "Inode:" in look("stat /etc/ssh/sshd_config")
    assert "Size: 0\n" in look("stat /etc/machine-id")
    assert [path for path in GONE if "Inode:" in look(f"stat {path}")] == []


def facts(master: BuildMaster, job: int) -> dict[str, Any]:
    assert master.wait_for_result(job, deadline=DEADLINE) == "SUCCESS", master.log
    found: dict[str, Any] = json.loads(master.builds(job)[0]["properties"]["facts"][0])
    return found


def test_an_unmodified_cloud_image_runs_builds_and_resumed_vms_share_nothing(
    imported: LocalImage, master: BuildMaster
) -> None:
    assert imported.description.launcher == launcher_version()
    first, second = (facts(master, master.force()) for _ in range(2))

    assert first["boot"] == second["boot"]  # both were resumed from one state
    for secret in ("urandom", "secrets", "machine-id"):
        assert first[secret] != second[secret]
    for each in (first, second):
        assert len(each["machine-id"]) == 32
        assert each["host keys"] == each["seeds"] == []
        assert each["host name"] == "debian-12-1"
        assert each["user"] == "worker"
        assert each["disk"] > 19 * GIB
        assert each["mark"] is True


def test_a_name_that_is_taken_is_refused(imported: LocalImage, cloud: Path) -> None:
    status, _out, err = run(cloud, "--name", NAME, "--output", imported.directory.parents[1])

    assert status == 1
    assert f"there is an image '{NAME}' already, {imported.description.short_digest}" in err
    assert "--again" in err
