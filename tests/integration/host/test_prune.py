# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image prune`` on real storage pools, with real users of what is in them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from click.testing import CliRunner, Result

from fake_images import qcow2_image
from latent_libvirt.cli import main
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import (
    image_upload,
    images,
    prune,
    storage,
)
from latent_libvirt.host.volumes.images import PublishedImage
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    upload,
)
from latent_libvirt.images.programs import program
from latent_libvirt.sandbox import PrivateLibvirtd

OVERLAY = OwnedVolume("0" * 12, 1, "abc")
TWO_DAYS = 2 * 24 * 3600

DOMAIN = """
<domain type="qemu">
  <name>somebodys</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64">hvm</type>{boot}</os>
  <devices>{disk}</devices>
</domain>
"""
DISK = """
<disk type="{type}">
  <driver name="qemu" type="qcow2"/><source {source}/><target dev="vda" bus="virtio"/>{readonly}
</disk>
"""


@pytest.fixture(scope="module")
def libvirtd(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[PrivateLibvirtd]:
    """Give a libvirtd of this module's own."""
    directory = tmp_path_factory.mktemp("libvirtd")
    with PrivateLibvirtd(directory, capability_cache=cache / "libvirt") as sandbox:
        for name in ("images", "elsewhere"):
            sandbox.define_storage_pool(name)
        yield sandbox


@pytest.fixture
def connection(libvirtd: PrivateLibvirtd) -> Iterator[libvirt.virConnect]:
    """Give a connection to a hypervisor with nothing on it."""
    connection = libvirt.open(libvirtd.uri)
    yield connection
    for domain in connection.listAllDomains():
        (domain.destroy if domain.isActive() else domain.undefine)()
    for name in ("images", "elsewhere"):
        pool = connection.storagePoolLookupByName(name)
        pool.refresh(0)
        for volume in pool.listAllVolumes():
            volume.delete(0)
    connection.close()


@pytest.fixture
def pool(connection: libvirt.virConnect) -> libvirt.virStoragePool:
    return connection.storagePoolLookupByName("images")


@pytest.fixture
def old(pool: libvirt.virStoragePool, tmp_path: Path) -> PublishedImage:
    """Give an image that is not the newest of its name: that is published, too."""
    image_upload.publish(pool, qcow2_image(tmp_path, year=2026))
    return image_upload.publish(pool, qcow2_image(tmp_path, year=2025))


def run(tmp_path: Path, uri: str, *arguments: str, absent: bool = False) -> Result:
    """Run the command on a pool of one host, or of two, of which the first does not answer."""
    nowhere = f"qemu+unix:///session?socket={tmp_path}/none"
    uris = {**({"absent": nowhere} if absent else {}), "here": uri}
    hosts = "".join(
        f'  {name}: {{uri: "{each}", slots: 1, storage_pool: images}}\n'
        for name, each in uris.items()
    )
    file = tmp_path / "pool.yaml"
    file.write_text(f"""
master: {{max_vms: 1}}
hosts:
{hosts}
labels:
  debian-12: {{image: debian-12, memory: 512MiB, max_vms: 1}}
""")
    return CliRunner().invoke(main, ["image", "prune", str(file), *arguments])


def there(pool: libvirt.virStoragePool) -> list[str]:
    return [image.digest for image in images.published(pool)]


def path(pool: libvirt.virStoragePool, volume: str) -> str:
    return str(pool.storageVolLookupByName(volume).path())


def disk(source: str, *, type_: str = "file", readonly: bool = False) -> str:
    return DISK.format(type=type_, source=source, readonly="<readonly/>" if readonly else "")


def test_old_images_go_and_it_is_told_how_many_bytes_that_frees(
    libvirtd: PrivateLibvirtd, pool: libvirt.virStoragePool, old: PublishedImage, tmp_path: Path
) -> None:
    size = sum(
        pool.storageVolLookupByName(volume).info()[2]
        for volume in (old.disk, old.kernel, old.initrd, old.json)
    )
    upload(pool, NewVolume(f"{old.disk}.bak", 1, 1), [b"x"])

    told = run(tmp_path, libvirtd.uri, "--dry-run")
    assert f"here: would free {size} bytes" in told.stdout
    assert len(there(pool)) == 2

    result = run(tmp_path, libvirtd.uri)

    assert result.exit_code == 0
    assert f"here: deleted debian-12 {old.digest[:16]}, {size} bytes" in result.stdout
    assert f"here: freed {size} bytes" in result.stdout
    assert old.digest not in there(pool)
    assert len(there(pool)) == 1
    left = [name for name in pool.listVolumes() if old.digest[:16] in name]
    assert left == [f"{old.disk}.bak"]
    assert "freed 0 bytes" in run(tmp_path, libvirtd.uri).stdout


def test_more_can_be_kept(
    libvirtd: PrivateLibvirtd, pool: libvirt.virStoragePool, old: PublishedImage, tmp_path: Path
) -> None:
    assert "freed 0 bytes" in run(tmp_path, libvirtd.uri, "--keep", "2").stdout
    assert old.digest in there(pool)


@pytest.mark.parametrize("where", ["images", "elsewhere"])
def test_an_image_below_anybodys_overlay_stays_until_that_is_gone(
    libvirtd: PrivateLibvirtd,
    pool: libvirt.virStoragePool,
    old: PublishedImage,
    tmp_path: Path,
    where: str,
) -> None:
    overlays = pool.connect().storagePoolLookupByName(where)
    base = pool.storageVolLookupByName(old.disk)
    storage.create_overlay(overlays, OVERLAY, base=base, capacity=None)

    result = run(tmp_path, libvirtd.uri)

    assert f"here: keeps debian-12 {old.digest[:16]}: in use by {OVERLAY}" in result.stdout
    assert old.digest in there(pool)
    storage.delete_volume(overlays, str(OVERLAY))
    run(tmp_path, libvirtd.uri)
    assert old.digest not in there(pool)


def test_an_image_of_a_running_domain_stays_though_its_overlay_is_in_no_storage_pool(
    libvirtd: PrivateLibvirtd,
    connection: libvirt.virConnect,
    pool: libvirt.virStoragePool,
    old: PublishedImage,
    tmp_path: Path,
) -> None:
    overlay = tmp_path / "overlay.qcow2"
    create = [program("qemu-img", package="qemu-utils"), "create", "-q", "-f", "qcow2"]
    base = ["-F", "qcow2", "-b", path(pool, old.disk)]
    subprocess.run([*create, *base, str(overlay)], check=True)
    xml = DOMAIN.format(boot="", disk=disk(f"file='{overlay}'"))
    domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)

    assert "in use by somebodys" in run(tmp_path, libvirtd.uri).stdout

    assert old.digest in there(pool)
    domain.destroy()
    run(tmp_path, libvirtd.uri)
    assert old.digest not in there(pool)


@pytest.mark.parametrize("use", ["disk", "volume", "kernel"])
def test_an_image_of_a_domain_that_does_not_run_stays(
    libvirtd: PrivateLibvirtd,
    pool: libvirt.virStoragePool,
    old: PublishedImage,
    tmp_path: Path,
    use: str,
) -> None:
    boot = f"<kernel>{path(pool, old.kernel)}</kernel>" if use == "kernel" else ""
    disks = {
        "disk": disk(f"file='{path(pool, old.disk)}'", readonly=True),
        "volume": disk(f"pool='images' volume='{old.disk}'", type_="volume", readonly=True),
        "kernel": "",
    }
    pool.connect().defineXML(DOMAIN.format(boot=boot, disk=disks[use]))

    assert "in use by somebodys" in run(tmp_path, libvirtd.uri).stdout
    assert old.digest in there(pool)


def test_half_an_upload_goes_when_it_is_old_and_not_before(
    libvirtd: PrivateLibvirtd, pool: libvirt.virStoragePool, old: PublishedImage, tmp_path: Path
) -> None:
    pool.storageVolLookupByName(old.json).delete(0)

    young = run(tmp_path, libvirtd.uri)
    assert "so young that it may still be coming" in young.stdout
    assert old.disk in pool.listVolumes()

    for volume in (old.disk, old.kernel, old.initrd):
        _make_old(path(pool, volume))
    result = run(tmp_path, libvirtd.uri)

    assert f"deleted half an upload of debian-12 {old.digest[:16]}" in result.stdout
    assert old.disk not in pool.listVolumes()
    assert len(there(pool)) == 1


def test_what_comes_into_use_after_the_survey_is_not_deleted(
    connection: libvirt.virConnect, pool: libvirt.virStoragePool, old: PublishedImage
) -> None:
    (found,) = [i for i in prune.survey(connection, "images") if i.digest == old.digest]
    base = pool.storageVolLookupByName(old.disk)
    storage.create_overlay(pool, OVERLAY, base=base, capacity=None)

    assert not prune.delete(connection, "images", found)

    assert old.disk in pool.listVolumes()
    assert old.digest not in there(pool)  # so that no other VM gets it


def test_a_host_that_cannot_be_asked_is_told_and_the_others_are_pruned(
    libvirtd: PrivateLibvirtd, pool: libvirt.virStoragePool, old: PublishedImage, tmp_path: Path
) -> None:
    result = run(tmp_path, libvirtd.uri, absent=True)

    assert result.exit_code == 1
    assert "absent: cannot be pruned" in result.stderr
    assert "Failed to connect socket" in result.stderr
    assert old.digest not in there(pool)
    assert run(tmp_path, libvirtd.uri, "--host", "here", absent=True).exit_code == 0
    assert run(tmp_path, libvirtd.uri, "--host", "heer").exit_code == 2


def test_a_host_that_cannot_say_what_its_domains_use_is_not_touched(
    libvirtd: PrivateLibvirtd,
    pool: libvirt.virStoragePool,
    old: PublishedImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A libvirtd that fails in the middle of a survey cannot be had on demand.
    def fail(*_: object) -> None:
        raise libvirt.libvirtError("cannot list domains")

    monkeypatch.setattr(libvirt.virConnect, "listAllDomains", fail)
    result = run(tmp_path, libvirtd.uri)
    monkeypatch.undo()

    assert result.exit_code == 1
    assert "cannot list domains" in result.stderr
    assert old.digest in there(pool)


def _make_old(file: str) -> None:
    then = time.time() - TWO_DAYS
    os.utime(file, (then, then))
