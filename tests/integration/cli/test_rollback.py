# SPDX-License-Identifier: GPL-2.0-only
"""VMs take an older version of an image again, on the hosts that have it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import libvirt
import pytest
from click.testing import CliRunner, Result

from fake_images import fake_image
from lab import STORAGE_POOL
from latent_libvirt.cli import main
from latent_libvirt.host.volumes import images
from latent_libvirt.sandbox import PrivateLibvirtd


class Pool:
    """A storage pool, which verbs are run on."""

    def __init__(self, sandbox: PrivateLibvirtd) -> None:
        sandbox.define_storage_pool(STORAGE_POOL)
        self.uri = sandbox.uri

    def run(self, *arguments: str | Path) -> Result:
        where = ("--uri", self.uri, "--pool", STORAGE_POOL)
        return CliRunner().invoke(main, ["image", *map(str, arguments), *where])

    def taken(self) -> str:
        """Return the short digest of the image that VMs take."""
        connection = libvirt.open(self.uri)
        try:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            return images.find(pool, "debian-12").description.short_digest
        finally:
            connection.close()


@pytest.fixture
def pool(sandbox: PrivateLibvirtd) -> Pool:
    return Pool(sandbox)


def version(output: Path, pool: Pool, year: int) -> str:
    """Publish a version that was built in that year; return its short digest."""
    local = fake_image(output, content=str(year).encode() * 100_000, year=year)
    assert pool.run("publish", local.directory).exit_code == 0
    return local.description.short_digest


def test_the_former_version_is_taken_again_and_the_one_before_it_next(
    pool: Pool, tmp_path: Path
) -> None:
    first, second, third = (version(tmp_path, pool, year) for year in (2023, 2024, 2025))
    result = pool.run("rollback", "debian-12")
    assert (result.exit_code, pool.taken()) == (0, second)
    assert f"debian-12 {second}" in result.stdout
    assert f"Before, they took {third}." in result.stdout
    assert pool.run("verify", "debian-12").stdout.count("is what was published") == 3

    assert pool.run("rollback", "debian-12").exit_code == 0
    assert pool.taken() == first

    result = pool.run("rollback", "debian-12")
    assert (result.exit_code, pool.taken()) == (1, first)
    assert f"no version of image 'debian-12' older than {first}" in result.stderr
    assert third in result.stderr

    again = pool.run("publish", tmp_path / "debian-12" / third)
    assert f"was there already in {STORAGE_POOL}" in again.stdout
    assert f"VMs take debian-12 {first}" in re.sub(r"\s+", " ", again.stdout)
    assert pool.run("rollback", "debian-12", "--to", third[:6]).exit_code == 0
    assert pool.taken() == third


def test_a_version_that_is_built_after_a_rollback_is_taken(pool: Pool, tmp_path: Path) -> None:
    first, _second = (version(tmp_path, pool, year) for year in (2023, 2024))
    pool.run("rollback", "debian-12")
    assert pool.taken() == first

    assert version(tmp_path, pool, 2099) == pool.taken()


def test_what_is_not_published_is_not_rolled_back(pool: Pool) -> None:
    result = pool.run("rollback", "debian-12")

    assert result.exit_code == 1
    assert "is published on none of these hosts" in result.stderr


def test_hosts_that_do_not_answer_are_named_and_the_others_are_rolled_back(
    pool: Pool, tmp_path: Path
) -> None:
    first, _second = (version(tmp_path, pool, year) for year in (2023, 2024))
    gone = f"qemu+unix:///session?socket={tmp_path}/nobody"
    hosts = {"alpha": pool.uri, "gone": gone}
    result = on_all(tmp_path, hosts, "{image: debian-12}")

    assert result.exit_code == 1
    assert "is what VMs take on alpha" in result.stdout
    assert "image 'debian-12' is as it was on gone" in result.stderr
    assert pool.taken() == first

    pinned = on_all(
        tmp_path, hosts, "{image: pin}", f"images: {{pin: {{name: debian-12, digest: {first}}}}}"
    )
    assert pinned.exit_code == 1
    assert "pin its digest" in pinned.stderr


def on_all(directory: Path, hosts: dict[str, str], label: str, more: str = "") -> Result:
    """Roll debian-12 back on all hosts of a pool file."""
    lines = "".join(
        f"  {name}: {{uri: '{uri}', slots: 1, storage_pool: {STORAGE_POOL}}}\n"
        for name, uri in hosts.items()
    )
    file = directory / "pool.yaml"
    file.write_text(f"master: {{max_vms: 1}}\nhosts:\n{lines}labels:\n  one: {label}\n{more}\n")
    arguments = ["image", "rollback", "debian-12", "--pool-file", str(file)]
    return CliRunner().invoke(main, arguments)


def test_a_forged_description_is_shown_with_what_to_do(pool: Pool, tmp_path: Path) -> None:
    first, second = (version(tmp_path, pool, year) for year in (2023, 2024))
    forged = f"latent-libvirt.image.debian-12.{second}.json"
    connection = libvirt.open(pool.uri)
    try:
        storage = connection.storagePoolLookupByName(STORAGE_POOL)
        place = Path(storage.storageVolLookupByName(forged).path())
    finally:
        connection.close()
    place.write_text("{}")

    listed, rolled = pool.run("list"), pool.run("rollback", "debian-12", "--to", first)

    assert first in listed.stdout
    assert second not in listed.stdout
    for result in (listed, rolled):
        assert f"! volume {forged} does not describe an image" in result.stderr
        assert f"vol-delete --pool {STORAGE_POOL} {forged}" in result.stderr
    (why,) = json.loads(pool.run("list", "--json").stdout)["damaged"]
    assert forged in why

    on_all(tmp_path, {"alpha": pool.uri}, "{image: debian-12}")  # which writes the file
    file = tmp_path / "pool.yaml"
    pruned = CliRunner().invoke(main, ["image", "prune", "--dry-run", str(file)])
    assert f"alpha: damaged: volume {forged} " in pruned.stdout, pruned.output
