# SPDX-License-Identifier: GPL-2.0-only
"""Images that must be signed, on a real host: what is unsigned or changed starts no VM."""

from __future__ import annotations

from pathlib import Path

import libvirt
import pytest
import pytest_twisted
from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fake_images import qcow2_image
from forgetful import Forgetful
from lab import STORAGE_POOL
from latent_libvirt.cli import main
from latent_libvirt.config import HostConfig, ImageConfig
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.host.volumes import proof
from latent_libvirt.sandbox import PrivateLibvirtd
from signers import Signer, new_signer
from specs import a_spec

DEADLINE = 120.0
OWNER = Owner("host:/master", "pool")


async def prepare(host: Host, *keys: Signer) -> None:
    """Do what comes before an overlay is made for a VM."""
    signers = tuple(key.public for key in keys) or None
    spec = VmSpec(a_spec().label, ImageConfig(name="debian-12", require_signed=signers))
    names = {name: name for name in ("master", "pool", "label", "worker", "image", "since")}
    record = VmRecord(owner_id=OWNER.id, vm_id="abc", state="job", **names)
    machine = host.new_machine(MachinePlan(1, record, spec))
    try:
        await machine.prepare()
    finally:
        await host.discard(machine)


async def until_usable(host: Host) -> None:
    async def poll() -> None:
        while not host.usable:
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


def run(*arguments: str) -> None:
    result = CliRunner().invoke(main, ["image", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def disk_of(sandbox: PrivateLibvirtd) -> Path:
    pool = libvirt.open(sandbox.uri).storagePoolLookupByName(STORAGE_POOL)
    name = next(each for each in pool.listVolumes() if each.endswith(".qcow2"))
    return Path(pool.storageVolLookupByName(name).path())


@pytest_twisted.ensureDeferred
async def test_only_an_image_that_is_signed_and_unchanged_starts_vms(
    sandbox: PrivateLibvirtd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.define_storage_pool(STORAGE_POOL)
    output = ("--output", str(qcow2_image(tmp_path / "out").directory.parent.parent))
    publish = ("publish", "debian-12", *output, "--uri", sandbox.uri, "--pool", STORAGE_POOL)
    ours, other = new_signer(tmp_path), new_signer(tmp_path, name="other")
    compared: list[str] = []
    compare = proof._compare

    def counted(*of: str) -> None:
        compared.append("now")
        compare(*of)

    monkeypatch.setattr(proof, "_compare", counted)
    config = HostConfig(uri=sandbox.uri, slots=1, storage_pool=STORAGE_POOL, accelerator="tcg")
    host = Host("here", config, PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor))
    host.start()
    try:
        await until_usable(host)
        run(*publish)
        await prepare(host)
        with pytest.raises(
            ConfigurationError, match=r"host here: image debian-12 .* is not signed"
        ):
            await prepare(host, ours)

        run("sign", "debian-12", *output, "--key", str(ours.file))
        run(*publish)
        with pytest.raises(ConfigurationError, match="is signed by another key"):
            await prepare(host, other)
        assert compared == []
        await prepare(host, other, ours)
        await prepare(host, ours)
        assert compared == ["now"]

        with disk_of(sandbox).open("r+b") as file:
            file.seek(200_000)
            file.write(b"evil")
        for _ in range(2):
            with pytest.raises(
                ConfigurationError, match=r"host here: volume .* is not what was published, so"
            ):
                await prepare(host, ours)
        assert compared == ["now", "now"]
    finally:
        await host.stop_when_empty()
