# SPDX-License-Identifier: GPL-2.0-only
"""The first pool.yaml of a machine: from what it has to a commented file, and what to do with it.

Pure. Who looks at the machine is ``host/inventory.py``; who asks and writes is ``cli/init.py``.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_libvirt.advice import page
from latent_libvirt.config.schema import modeline
from latent_libvirt.config.units import GIB, MIB, format_size

if TYPE_CHECKING:
    from latent_libvirt.host.inventory import Inventory, StoragePool

FALLBACK_IMAGE = "debian-12"
FALLBACK_POOL = "builds"
FALLBACK_URI = "qemu:///system"

SMALLEST_MEMORY = 512 * MIB
LARGEST_MEMORY = 4 * GIB
QEMU_OVERHEAD = 64 * MIB
"""Memory that QEMU takes for itself, in bytes (measured: 50 MiB)."""

SHARE_OF_MEMORY = 0.75
"""What VMs may take of the host's memory: the rest is for the host and its page cache."""

SPACE_PER_VM = 2 * GIB
"""Bytes that a build is expected to write."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
_WORDS_OF_YAML = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


@dataclass(frozen=True)
class Size:
    """Number and size of the VMs that a host runs at once.

    :param memory: of each VM, in bytes.
    """

    slots: int
    vcpus: int
    memory: int


def sensible_size(*, cpus: int, memory: int, space: int | None = None) -> Size:
    """Return as many VMs as the host runs without taking a processor or memory twice.

    :param memory: of the host, in bytes.
    :param space: free bytes of the storage pool, if there is one.
    """
    vcpus = 1 if cpus < 4 else 2  # noqa: PLR2004 - with fewer, one VM would be half of the host
    usable = int(memory * SHARE_OF_MEMORY)
    slots = max(1, cpus // vcpus)
    each = _power_of_two(usable // slots - QEMU_OVERHEAD)
    slots = min(slots, usable // (each + QEMU_OVERHEAD))
    if space is not None:
        slots = min(slots, space // SPACE_PER_VM)
    return Size(max(1, slots), vcpus, each)


def _power_of_two(size: int) -> int:
    """Return the largest one that fits in *size* bytes, within what VMs sensibly have."""
    memory = SMALLEST_MEMORY
    while memory * 2 <= min(size, LARGEST_MEMORY):
        memory *= 2
    return memory


@dataclass(frozen=True)
class Starter:
    """A proposal for a machine.

    :param host: the name of its only host.
    :param pool: the name of the storage pool.
    :param has_pool: whether the host has that one.
    :param published: whether the image is there already.
    :param silence: why no libvirt answered; empty if one did.
    """

    host: str
    uri: str
    pool: str
    has_pool: bool
    image: str
    published: bool
    size: Size
    silence: str = ""

    def yaml(self, *, schema: str, recipes: tuple[str, ...]) -> str:
        """Return the text of the file.

        :param schema: where an editor finds the schema, as seen from the file.
        :param recipes: names of images that need no separate entry.
        """
        size = self.size
        image = scalar(self.image)
        images = "" if self.image in recipes else f"\nimages:\n  {image}: {{}}\n"
        return f"""\
{modeline(schema)}
# What VMs this master may run, and where. `latent-libvirt check` finds mistakes in it,
# `latent-libvirt doctor` finds what is wrong with the hosts.
# {page("docs/reference/configuration.md")} explains every key.

master:
  max_vms: {size.slots}
  # ^ VMs at once, over all hosts and labels.
  # address: buildbot.example.org
  # ^ Where guests find the master: needed only if it does not run on the host itself.

hosts:
  {scalar(self.host)}:
{self._placeholder()}    uri: {scalar(self.uri)}
    # ^ Hosts elsewhere have one like qemu+ssh://builder@host/system.
    slots: {size.slots}
    # ^ VMs at once on this host, of all masters that use it.
    storage_pool: {scalar(self.pool)}
    # ^ Holds the base images and one overlay for each running VM.{self._missing_pool()}
{images}
labels:
  {image}:
    # ^ What builders ask for: pool.worker_names("{self.image}")
    image: {image}
    vcpus: {size.vcpus}
    memory: {format_size(size.memory)}
    # disk: 20GiB
    # ^ Only if builds need a larger disk than the image has.
    # max_vms: {size.slots}
    # ^ VMs of this label at once: so many workers are made. Without it, as master.max_vms.
"""

    def _placeholder(self) -> str:
        if not self.silence:
            return ""
        reasons = "".join(f"    #   {line}\n" for line in self.silence.splitlines())
        return f"    # PLACEHOLDERS: no libvirt answered when this was written:\n{reasons}"

    def _missing_pool(self) -> str:
        if self.has_pool or self.silence:
            return ""
        return "\n    # PLACEHOLDER: the host had no storage pool when this was written."

    def next_steps(self, file: str) -> str:
        """Return what to do next, as commands and lines to copy.

        :param file: the name of what has been written.
        """
        commands = "\n".join(f"  {command}" for command in self._commands(file))
        return f"""\
Next:
{commands}
and in master.cfg:
  from latent_libvirt import Pool
  pool = Pool.from_yaml({json.dumps(file)})
  c["services"] = [pool]
  c["workers"] = pool.workers()
  c["prioritizeBuilders"] = pool.prioritize_builders
  c["protocols"] = {{"pb": {{"port": "tcp:9989:interface=127.0.0.1"}}}}
  # and in a builder: workernames=pool.worker_names("{self.image}")
"""

    def _commands(self, file: str) -> list[str]:
        uri, pool = shlex.quote(self.uri), shlex.quote(self.pool)
        commands = []
        if self.silence:
            commands.append("systemctl start libvirtd  # or virtqemud and its like")
        if not self.has_pool:
            commands += [
                f"virsh -c {uri} pool-define-as {pool} dir --target DIRECTORY",
                *(f"virsh -c {uri} pool-{verb} {pool}" for verb in ("build", "start", "autostart")),
            ]
        if not self.published:
            commands += [
                f"latent-libvirt image build {shlex.quote(self.image)}",
                f"latent-libvirt image publish {shlex.quote(self.image)} --uri {uri} --pool {pool}",
            ]
        return [*commands, f"latent-libvirt doctor {shlex.quote(file)}"]


def for_host(found: Inventory, recipes: tuple[str, ...]) -> Starter:
    """Return what is proposed for a machine whose libvirt answers.

    :param recipes: names of images that can be built.
    """
    pool = _best(found.pools)
    image, published = _image(pool, recipes)
    return Starter(
        host=host_name(found.hostname),
        uri=found.uri,
        pool=FALLBACK_POOL if pool is None else pool.name,
        has_pool=pool is not None,
        image=image,
        published=published,
        size=sensible_size(
            cpus=found.cpus, memory=found.memory, space=None if pool is None else pool.available
        ),
    )


def without_host(*, hostname: str, cpus: int, memory: int, silence: str) -> Starter:
    """Return what is proposed for a machine on which no libvirt answers.

    :param memory: of the machine, in bytes.
    :param silence: why none does.
    """
    return Starter(
        host=host_name(hostname),
        uri=FALLBACK_URI,
        pool=FALLBACK_POOL,
        has_pool=False,
        image=FALLBACK_IMAGE,
        published=False,
        size=sensible_size(cpus=cpus, memory=memory),
        silence=silence,
    )


def host_name(hostname: str) -> str:
    """Return a name for a host of the file: that of the machine, as far as the file allows it."""
    first = hostname.lower().split(".")[0]
    return re.sub(r"[^a-z0-9-]+", "-", first).strip("-")[:40] or "here"


def scalar(text: str) -> str:
    """Return *text* as a YAML scalar that is read as that very text, quoted if it must be."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return json.dumps(text, ensure_ascii=False)


def _best(pools: tuple[StoragePool, ...]) -> StoragePool | None:
    """Return the pool with images in it, or the one with the most room."""
    return max(pools, key=lambda pool: (bool(pool.images), pool.available), default=None)


def _image(pool: StoragePool | None, recipes: tuple[str, ...]) -> tuple[str, bool]:
    """Return the image to use, and whether it is published; ours come before others."""
    there = () if pool is None else pool.images
    for name in (*(name for name in there if name in recipes), *there):
        return name, True
    return (FALLBACK_IMAGE if FALLBACK_IMAGE in recipes else recipes[0]), False
