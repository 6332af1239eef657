# SPDX-License-Identifier: GPL-2.0-only
"""The section ``master``: the Buildbot master that the pool belongs to."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from latent_libvirt.config.fields.addresses import Address, IpAndPort
from latent_libvirt.config.fields.keys import KEY_EXAMPLE, PublicKeys
from latent_libvirt.config.fields.names import Name
from latent_libvirt.config.fields.numbers import VmCount
from latent_libvirt.config.fields.paths import Paths
from latent_libvirt.config.fields.sizes import DEFAULT_FETCH_CACHE, CacheSpace
from latent_libvirt.config.fields.times import Timeout
from latent_libvirt.config.section import Section


class MasterConfig(Section):
    """The Buildbot master that the pool belongs to."""

    max_vms: VmCount = Field(examples=[12])
    """Cap on VMs at one time, over all hosts and labels. With `0`, no new VM starts."""

    name: Name | None = Field(default=None, examples=["fast"])
    """Prefix of the names of all workers, as in `fast-debian-12-1`. Masters that share a database
    need different ones."""

    address: Address | None = Field(default=None, examples=["buildbot.example.org"])
    """Host name or IP address of the master, as guests see it. The port comes from
    `c["protocols"]`. Without this key, guests use the gateway of their network, which is right if
    the master runs on the host. Guests on a `bridge` have no such gateway. The `address` of a
    label or host comes before this one."""

    placement: Literal["spread", "pack"] = Field(default="spread", examples=["pack"])
    """Choice among several hosts with room. `spread` takes the host with room for the most VMs of
    the label. `pack` takes the host with room for the fewest, so that other hosts stay empty, for
    large VMs or to be switched off."""

    domain_xml_paths: Paths = Field(default=(), examples=["[/srv/vms]"])
    """Directories, and files, of hosts that `domain_xml` of a label may name. Without this key, it
    may name no path."""

    metrics: IpAndPort | None = Field(default=None, examples=["127.0.0.1:9177"])
    """IP address and port at which the pool serves its metrics, under `/metrics`. An IPv6 address
    needs quotes, as in `'[::1]:9177'`. Anybody who reaches the address can read them. Without this
    key, they are not served."""

    require_signed: PublicKeys | None = Field(default=None, examples=[KEY_EXAMPLE])
    """Public ssh key, or a list of them, of which one must have signed each image. `latent-libvirt
    image sign` signs one. An image's `require_signed` comes before this one. Images that are
    volumes cannot be signed, and are refused."""

    fetch_cache: CacheSpace = Field(
        default=DEFAULT_FETCH_CACHE, examples=["10GiB"], json_schema_extra={"default": "1GiB"}
    )
    """Space on the master's disk for packages that builds have fetched by a label's `allow`. The
    next build gets them from there. When the space is used up, those go that were not used for the
    longest time. With `0MiB`, none is kept."""

    stop_within: Timeout = Field(default=3.0, examples=["10m"], json_schema_extra={"default": "3s"})
    """Time that builds have to finish when the master stops. A build that still runs then ends as
    RETRY, and runs again when the master is back. `buildbot stop` and `buildbot restart` wait for
    10 s only. One of several masters uses `stop_within` of its `Common` instead."""
