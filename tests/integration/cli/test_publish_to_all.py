# SPDX-License-Identifier: GPL-2.0-only
"""An image is published on all hosts of a pool.yaml, and a host that is down holds up no other."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import libvirt
import pytest
from click.testing import CliRunner

import small_disk
from fake_images import fake_image
from lab import STORAGE_POOL
from latent_libvirt.cli import main
from latent_libvirt.cli.image import storage as storage_verbs
from latent_libvirt.host.volumes import upload_lock
from latent_libvirt.host.volumes.images import PublishedImage
from latent_libvirt.sandbox import PrivateLibvirtd


def write_pool(directory: Path, *uris: str) -> Path:
    hosts = "".join(
        f"  h{number}: {{uri: '{uri}', slots: 1, storage_pool: {STORAGE_POOL}}}\n"
        for number, uri in enumerate(uris)
    )
    path = directory / "pool.yaml"
    path.write_text(
        f"master: {{max_vms: 1}}\nhosts:\n{hosts}labels:\n  debian-12: {{image: debian-12}}\n"
    )
    return path


def volumes(sandbox: PrivateLibvirtd) -> list[str]:
    connection = libvirt.open(sandbox.uri)
    try:
        return sorted(connection.storagePoolLookupByName(STORAGE_POOL).listVolumes())
    finally:
        connection.close()


def test_every_host_that_answers_has_the_image_and_the_others_are_named(
    sandbox: PrivateLibvirtd, tmp_path: Path
) -> None:
    sandbox.define_storage_pool(STORAGE_POOL)
    local = fake_image(tmp_path / "out", content=b"x" * 300_000)
    gone = f"qemu+unix:///session?socket={tmp_path}/nobody"
    pool = write_pool(tmp_path, gone, sandbox.uri)
    arguments = ["image", "publish", "debian-12", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, "--pool-file", str(pool)])

    assert result.exit_code == 1
    assert f"published in {STORAGE_POOL} of {sandbox.uri}" in result.stdout.replace("\n", "")
    assert "image debian-12 is not published on h0" in result.stderr
    assert str(local.directory) in result.stderr
    assert f"latent-libvirt.image.debian-12.{local.description.short_digest}.json" in volumes(
        sandbox
    )


def test_all_images_that_labels_use_are_published(sandbox: PrivateLibvirtd, tmp_path: Path) -> None:
    sandbox.define_storage_pool(STORAGE_POOL)
    output = tmp_path / "out"
    local = fake_image(output, content=b"x" * 300_000)
    fake_image(output, name="unused")
    pool = write_pool(tmp_path, sandbox.uri)
    pool.write_text(f"{pool.read_text()}  other: {{image: other}}\nimages: {{other: {{}}}}\n")
    arguments = ["image", "publish", "--all", "--output", str(output), "--pool-file", str(pool)]
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0, result.output
    assert "No local image: other." in result.stdout
    prefix = f"latent-libvirt.image.debian-12.{local.description.short_digest}"
    assert volumes(sandbox) == [
        f"{prefix}.{part}" for part in ("initrd", "json", "kernel", "qcow2")
    ]


def test_all_takes_a_pool_file_and_a_label_with_a_local_image(tmp_path: Path) -> None:
    pool = write_pool(tmp_path, "test:///default")
    for arguments, why in (
        (("debian-12", "--pool-file", str(pool)), "no name of an image"),
        (("--uri", "test:///default", "--pool", "p"), "--all takes --pool-file"),
        (("--pool-file", str(pool)), "there is no local image that a label of"),
    ):
        result = CliRunner().invoke(
            main, ["image", "publish", "--all", "--output", str(tmp_path), *arguments]
        )

        assert result.exit_code != 0
        assert why in result.stderr


def test_one_host_or_all_of_a_pool_are_named(tmp_path: Path) -> None:
    for options in ([], ["--uri", "test:///default", "--pool", "p", "--pool-file", "pool.yaml"]):
        result = CliRunner().invoke(main, ["image", "publish", "debian-12", *options])

        assert result.exit_code == 2
        assert "--pool-file" in result.stderr


def test_a_full_storage_pool_is_named_and_gets_nothing(
    sandbox: PrivateLibvirtd, tmp_path: Path
) -> None:
    small_disk.mount(sandbox.pid, sandbox.directory / "storage" / STORAGE_POOL, size=2**20)
    sandbox.define_storage_pool(STORAGE_POOL)
    fake_image(tmp_path / "out", content=b"x" * 2**21)
    place = ("--uri", sandbox.uri, "--pool", STORAGE_POOL)
    arguments = ["image", "publish", "debian-12", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(main, [*arguments, *place])

    assert result.exit_code == 1
    assert f"storage pool '{STORAGE_POOL}' is full" in result.stderr
    assert "image prune" in result.stderr
    assert volumes(sandbox) == []


def test_a_host_that_dies_in_the_middle_has_no_image_and_gets_it_by_the_same_command(
    sandbox: PrivateLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_lock, "STALE_AFTER", 0.5)
    monkeypatch.setattr(upload_lock, "_LOOK_EVERY", 0.05)
    sandbox.define_storage_pool(STORAGE_POOL)
    local = fake_image(tmp_path / "out", content=b"0123456789" * 2**20)
    arguments = ["image", "publish", "debian-12", "--output", str(tmp_path / "out")]
    place = ("--uri", sandbox.uri, "--pool", STORAGE_POOL)

    def die(done: int, _total: int) -> None:
        if done >= 6 * 2**20:
            sandbox.kill()

    with monkeypatch.context() as patched:
        patched.setattr(storage_verbs, "moving", lambda _title: nullcontext(die))
        result = CliRunner().invoke(main, [*arguments, *place])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert "libvirt" in result.stderr
    sandbox.restart()
    listed = CliRunner().invoke(main, ["image", "list", *place])
    assert "There are none." in listed.stdout

    again = CliRunner().invoke(main, [*arguments, *place])

    assert again.exit_code == 0, again.stderr
    assert CliRunner().invoke(main, ["image", "verify", *place]).exit_code == 0
    image = PublishedImage.of(local.description)
    assert sorted(volumes(sandbox)) == sorted([image.disk, image.kernel, image.initrd, image.json])
