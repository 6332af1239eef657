# SPDX-License-Identifier: GPL-2.0-only
"""Buildbot's own LibVirtWorker, set up as its manual says, with what a careful user would choose.

Its base image is ours with one file added; a domain per worker is defined beforehand, with the
hardware and the direct boot of the pool's domains, and its disk is the worker's ``hd_image``, so
that the clone is what boots. Who a VM is stands on its kernel's command line: LibVirtWorker puts
name and password only into the domain's metadata, which no guest can see.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import libvirt

import buildmaster
import fixed_worker
from buildmaster import BuildMaster
from fixture import IMAGE, domain_spec
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    domain_xml,
)
from latent_libvirt.host.volumes import base_image
from latent_libvirt.images.local import LocalImage
from latent_libvirt.images.programs import program, run

PASSWORD = "sekrit"  # noqa: S105 - the manual's
MASTER = "10.0.2.2"

_FIRST_PARTITION = 1024**2
_DROP_IN = f"""\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -I -S {fixed_worker.HOME}/fixed_worker.py
"""
_PUT_IN = f"""\
cd {fixed_worker.HOME}
write {fixed_worker.__file__} fixed_worker.py
cd /etc/systemd/system
mkdir latent-libvirt-launcher.service.d
cd latent-libvirt-launcher.service.d
write {{drop_in}} fixed.conf
"""
_PUT_IN_STOCK = f"""\
cd {fixed_worker.HOME}
write {fixed_worker.__file__} fixed_worker.py
write {{who}} {fixed_worker.FILE.name}
"""
_WORKERS = """
from buildbot.plugins import worker
services = []
workers = [
    worker.LibVirtWorker(
        name,
        {password!r},
        hd_image="{directory}/" + name,
        base_image="{base}",
        uri="{uri}",
        masterFQDN="{master}",
        {arguments}
    )
    for name in {names}
]
"""


def make_base_image(image: LocalImage, target: Path) -> None:
    """Make *target*: our image, and what lets a VM connect to its master when it boots.

    :raises BuildError: a program failed.
    """
    drop_in = target.with_suffix(".conf")
    drop_in.write_text(_DROP_IN)
    _put_in(image, target, _PUT_IN.format(drop_in=drop_in))


def _put_in(image: LocalImage, target: Path, commands: str) -> None:
    """Make *target*: an image, and what *commands* of debugfs do to its file system."""
    raw, script = target.with_suffix(".raw"), target.with_suffix(".commands")
    script.write_text(commands)
    qemu_img = program("qemu-img", package="qemu-utils")
    debugfs = program("debugfs", package="e2fsprogs")
    run([qemu_img, "convert", "-O", "raw", str(image.path("disk")), str(raw)])
    run([debugfs, "-w", "-f", str(script), f"{raw}?offset={_FIRST_PARTITION}"])
    run([qemu_img, "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)])
    raw.unlink()


class Upstream:
    """A master that uses LibVirtWorker, and its VMs.

    :param base: the base image.
    :param count: how many workers, and so VMs, there are.
    :param arguments: further ones of ``LibVirtWorker``, as they stand in a ``master.cfg``.
    """

    def __init__(self, lab: Lab, base: Path, *, count: int, arguments: str) -> None:
        self._lab = lab
        self._base = base
        self._names = [f"minion{number}" for number in range(1, count + 1)]
        self._arguments = arguments
        self.left: list[str] = []

    @contextmanager
    def running(self, directory: Path, factory: str) -> Iterator[BuildMaster]:
        """Run a master for the length of a ``with`` block.

        ``left`` is what there was of running domains and clones after the master's end; it is
        removed too.
        """
        master = BuildMaster(directory, self._master_cfg(directory, factory))
        self._define_domains(directory, master.worker_port)
        try:
            master.start()
            yield master
        finally:
            _stop(master)
            self.left = self._remove_domains() + self._remove_clones(directory)

    def _master_cfg(self, directory: Path, factory: str) -> str:
        workers = _WORKERS.format(
            password=PASSWORD,
            directory=directory,
            base=self._base,
            uri=self._lab.uri,
            master=MASTER,
            arguments=self._arguments,
            names=self._names,
        )
        return buildmaster.master_cfg(workers + factory)

    def _define_domains(self, directory: Path, port: int) -> None:
        with self._lab.connection() as connection:
            boot = self._boot(connection)
            for number, name in enumerate(self._names, start=1):
                told = None if boot is None else _told(boot, name, port)
                disk = str(directory / name)
                spec = domain_spec(number, name=name, disk=disk, boot=told)
                connection.defineXML(domain_xml(spec))

    def _boot(self, connection: libvirt.virConnect) -> DirectKernel | None:
        """Return how the domains boot; ``None``: by their BIOS, from their disk."""
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        return base_image.resolve(pool, ImageConfig(name=IMAGE)).boot

    def _remove_domains(self) -> list[str]:
        """Return the names of those that still ran."""
        with self._lab.connection() as connection:
            domains = [d for d in connection.listAllDomains() if d.name() in self._names]
            active = [domain for domain in domains if domain.isActive()]
            for domain in domains:
                with suppress(libvirt.libvirtError):  # it does not run
                    domain.destroy()
                domain.undefine()
            return [domain.name() for domain in active]

    def _remove_clones(self, directory: Path) -> list[str]:
        """Return the paths of those that there still were."""
        clones = [clone for name in self._names if (clone := directory / name).exists()]
        for clone in clones:
            clone.unlink()
        return [str(clone) for clone in clones]


class UpstreamStock(Upstream):
    """The same with one VM, which boots a stock Debian by its BIOS, as LibVirtWorker's users do.

    :param image: a stock Debian, built from ``debian-stock``.
    :param base: where to make the base image; who the VM is stands in a file there.
    """

    def __init__(self, lab: Lab, image: LocalImage, base: Path) -> None:
        super().__init__(lab, base, count=1, arguments="build_wait_timeout=0,")
        self._image = image

    def _define_domains(self, directory: Path, port: int) -> None:
        who = self._base.with_suffix(".who")
        (name,) = self._names
        who.write_text(_word(name, port))
        _put_in(self._image, self._base, _PUT_IN_STOCK.format(who=who))
        super()._define_domains(directory, port)

    def _boot(self, _connection: libvirt.virConnect) -> None:
        """Boot by the BIOS."""


def _word(name: str, port: int) -> str:
    return f"{fixed_worker.WORD}{name},{PASSWORD},{MASTER},{port}"


def _told(boot: DirectKernel, name: str, port: int) -> DirectKernel:
    return replace(boot, command_line=f"{boot.command_line} {_word(name, port)}")


def _stop(master: BuildMaster) -> None:
    try:
        master.stop()
    except subprocess.TimeoutExpired:
        master.kill()
