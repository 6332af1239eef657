# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt check``: reports every mistake in a pool.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from latent_libvirt.config.listener import find
from latent_libvirt.config.load import load
from latent_libvirt.doctor import endpoint
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.architectures import FIRMWARE_PACKAGES, QEMU_PACKAGES, X86_64
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig


@click.command(short_help="Check a pool's YAML file.")
@click.argument("file", type=click.Path(), default="pool.yaml")
def check(file: str) -> None:
    """Check FILE, by default pool.yaml, without touching any host.

    Reports each mistake in a line with its place and its remedy. Also checks the port for workers
    in a master.cfg beside the file.
    """
    config = load(file)
    _refuse_guests_themselves(config)
    _check_port(Path(file).parent, by_tcp=config.uses_tcp)
    click.echo(f"{display_name(file)} is good: {_summary(config)}.")
    for line in (*_foreign(config), *_allowed(config), *_unsigned(config), *_idle_workers(config)):
        click.echo(line)


def _refuse_guests_themselves(config: PoolConfig) -> None:
    """Refuse destinations for which programs in guests do not ask their proxy.

    :raises ConfigurationError: a label has some. A master takes them: a build may empty `no_proxy`.
    """
    places = [
        f"label {name}: {each.name}:{each.port}"
        for name, label in config.labels.items()
        for each in config.destinations_of(label)
        if each.is_in_guest
    ]
    if places:
        why = "Builds have no_proxy=localhost,127.0.0.1,::1. Programs connect to the guest itself:"
        raise ConfigurationError(
            "guests do not reach the host localhost through their master",
            details="\n".join([why, *places]),
            resolution="Write another name of that machine, such as `hostname -f` prints there: "
            "{name: NAME, port: PORT, private: true}",
        )


def _check_port(directory: Path, *, by_tcp: bool) -> None:
    """See that guests can use the port that a ``master.cfg`` beside the file has for workers.

    :param by_tcp: whether workers of any label connect to it.
    :raises ConfigurationError: they cannot.
    """
    listener = find(directory / "master.cfg")
    if listener is not None:
        endpoint.check(listener, directory, by_tcp=by_tcp)


def _summary(config: PoolConfig) -> str:
    slots = sum(host.slots for host in config.hosts.values())
    return (
        f"{_count(len(config.labels), 'label')} on {_count(len(config.hosts), 'host')} with "
        f"{_count(slots, 'slot')}, at most {_count(config.master.max_vms, 'VM')} at once"
    )


def _foreign(config: PoolConfig) -> Iterator[str]:
    """Yield what hosts need for labels of other architectures than that of most hosts."""
    for arch in sorted({label.arch for label in config.labels.values()} - {X86_64}):
        names = [name for name, label in config.labels.items() if label.arch == arch]
        packages = f"{QEMU_PACKAGES[arch]} and {FIRMWARE_PACKAGES[arch]}"
        yield (
            f"VMs of {', '.join(names)} are {arch} machines. Hosts need QEMU and UEFI for that "
            f"(Debian: {packages}). `latent-libvirt doctor` says which hosts lack it."
        )


def _allowed(config: PoolConfig) -> Iterator[str]:
    """Yield what guests without a card may reach, with the groups written out."""
    for name, label in config.labels.items():
        if label.network.allow is not None:
            places = [f"{d.name}:{d.port}" for d in config.destinations_of(label)]
            yield f"Guests of label {name} may reach {', '.join(places)}."


def _unsigned(config: PoolConfig) -> Iterator[str]:
    """Yield which labels start VMs of any image, where others need a signature."""
    images = {name: config.image_for(label) for name, label in config.labels.items()}
    open_ = [name for name, image in images.items() if not image.require_signed]
    if open_ and len(open_) < len(images):
        yield f"Images of labels without `require_signed` may be unsigned: {', '.join(open_)}."


FEW_IDLE: Final = 4
"""Workers for each VM that can run, up to which nothing is said: labels share the hosts."""

MANY_WORKERS: Final = 1000
"""Workers below which their number does not matter."""


def _idle_workers(config: PoolConfig) -> Iterator[str]:
    """Yield what says that far more workers are listed than VMs can ever run."""
    labels = config.labels.items()
    workers = sum(max(1, label.max_vms) for _name, label in labels)
    running = min(config.master.max_vms, sum(host.slots for host in config.hosts.values()))
    if workers <= MANY_WORKERS or workers <= FEW_IDLE * max(1, running):
        return
    widest = [name for name, label in labels if label.max_vms >= running]
    which = f"{_count(len(widest), 'label')}, such as {widest[0]}," if widest else "The labels"
    yield (
        f"Warning: pool.workers() lists {workers} workers, and {running} of them can run at once. "
        "The rest costs memory and a slower start. "
        f"{which} may have more VMs than they are likely to need: set their `max_vms`, which is "
        "`master.max_vms` where it is left out."
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
