# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image rollback``: VMs take an older version of an image again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import console, say, warn
from latent_libvirt.cli.image.storage import opened
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError, HostError, LatentLibvirtError

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.config.models import PoolConfig

T = TypeVar("T")


@click.command
@click.argument("name")
@click.option(
    "--to",
    "digest",
    callback=options.digest,
    help="First 6 or more digits of the digest to take, newer or older.",
)
@options.storage_pool(required=False)
@options.pool_file
def rollback(
    name: str, digest: str | None, uri: str | None, pool: str | None, pool_file: str | None
) -> None:
    """Let VMs take the version of the image NAME that was built before the present one.

    The versions are those that are published, and nothing is deleted. VMs that run keep theirs.
    With --pool-file, if one host cannot be changed, the others are, and the exit status is 1.
    """
    if (pool_file is None) == (uri is None and pool is None):
        raise click.UsageError("name a host by --uri and --pool, or all hosts by --pool-file")
    if pool_file is None:
        _roll_back(name, digest, {f"{pool} of {uri}": (uri, pool)})
    else:
        config = load(pool_file)
        _refuse_pinned(name, config)
        hosts = {each: (host.uri, host.storage_pool) for each, host in config.hosts.items()}
        _roll_back(name, digest, hosts)


def _refuse_pinned(name: str, config: PoolConfig) -> None:
    images = {key: config.image_for(label) for key, label in config.labels.items()}
    users = {key: image for key, image in images.items() if image.name == name}
    if users and all(image.digest for image in users.values()):
        raise ConfigurationError(
            f"the labels with image {name!r} pin its digest, so their VMs take no other version",
            details=f"Labels: {', '.join(users)}.",
            resolution="Change or remove `digest` in the section `images` of the pool file.",
        )


Hosts = Mapping[str, tuple[str | None, str | None]]
"""By what a host is called, its URI and its storage pool."""


def _roll_back(name: str, digest: str | None, hosts: Hosts) -> None:
    from latent_libvirt.host.volumes import images  # noqa: PLC0415
    from latent_libvirt.host.volumes import rollback as host_rollback  # noqa: PLC0415

    def versions(storage: libvirt.virStoragePool) -> host_rollback.Versions:
        found = host_rollback.versions(storage, name)
        for each in images.damaged(storage, name):
            warn(each)
        return found

    found, failed = _on_each(hosts, versions)
    if failed and not found:
        raise _not_everywhere(name, failed)
    wanted = host_rollback.target(name, found, digest)
    answering = {host: hosts[host] for host in found}
    changed, refused = _on_each(answering, lambda storage: host_rollback.choose(storage, wanted))
    for host, is_new in changed.items():
        say(wanted.description, f"is what VMs take on {host}" + ("" if is_new else ", as before"))
    former = {there[0].description.short_digest for there in found.values() if there}
    if others := former - {wanted.description.short_digest}:
        console.print(f"Before, they took {', '.join(sorted(others))}.", markup=False)
    if failed | refused:
        raise _not_everywhere(name, failed | refused)


def _on_each(
    hosts: Hosts, work: Callable[[libvirt.virStoragePool], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """Do something with each storage pool; return what came of it, and why it failed elsewhere."""
    done, failed = {}, {}
    for host, (uri, pool) in hosts.items():
        try:
            with opened(uri, pool) as storage:
                done[host] = work(storage)
        except LatentLibvirtError as error:
            failed[host] = error.brief
    return done, failed


def _not_everywhere(name: str, failed: Mapping[str, str]) -> HostError:
    return HostError(
        f"image {name!r} is as it was on {', '.join(failed)}",
        details="\n".join(f"{host}: {why}" for host, why in failed.items()),
        resolution="Publish the version there that it lacks, or remove the cause, and repeat this "
        "with --to DIGEST.",
    )
