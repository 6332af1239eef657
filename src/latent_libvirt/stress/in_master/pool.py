# SPDX-License-Identifier: GPL-2.0-only
"""Pool of a stressed master: simulated hosts, private ones, or those of an operator's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.config.load import load as load_pool
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.units import format_size
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.workspace import STORAGE_POOL

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import DeploymentProfile

LABEL: Final = "stress"

NODE: Final = """\
<node>
  <pool type="dir">
    <name>builds</name>
    <target><path>/builds</path></target>
    <volume type="file">
      <name>base.qcow2</name>
      <capacity>1048576</capacity>
      <target><path>/builds/base.qcow2</path><format type="qcow2"/></target>
    </volume>
  </pool>
</node>
"""
"""What libvirt's test driver is to have at the start: a storage pool with a base image."""


def pool_yaml(directory: Path, profile: DeploymentProfile, *, name: str) -> dict[str, Any]:
    """Return a pool of simulated hosts, and write what they are into the master's directory.

    :param name: of the master.
    """
    hosts, slots = profile.hosts, profile.slots
    node = directory / "node.xml"
    node.write_text(NODE)
    return {
        "master": {"name": name, "max_vms": hosts * slots, "address": "127.0.0.1"},
        "hosts": {f"host-{n}": _host(node, n, slots) for n in range(1, hosts + 1)},
        "images": {"base": {"volume": "base.qcow2"}},
        "labels": {
            LABEL: {"image": "base", "spares": profile.spares, "start": "boot", "connection": "tcp"}
        },
    }


def _host(node: Path, number: int, slots: int) -> dict[str, Any]:
    return {
        # The slashes make each a separate hypervisor, from one file.
        "uri": f"test://{'/' * number}{node}",
        "slots": slots,
        "storage_pool": "builds",
        "accelerator": "tcg",
    }


def private_pool(uris: Sequence[str], profile: DeploymentProfile, *, name: str) -> dict[str, Any]:
    """Return a pool of hosts with QEMU, each with the profile's slots and image.

    :param uris: of the hosts.
    """
    start = "resume" if profile.start == "resumed" else "boot"
    label = {"image": profile.image, "memory": profile.memory, "spares": profile.spares}
    hosts = {
        f"host-{n}": {"uri": uri, "slots": profile.slots, "storage_pool": STORAGE_POOL}
        for n, uri in enumerate(uris, 1)
    }
    return {
        "master": {"name": name, "max_vms": len(uris) * profile.slots},
        "hosts": hosts,
        "labels": {LABEL: label | {"memory": format_size(profile.memory), "start": start}},
    }


def operators_pool(profile: DeploymentProfile, *, name: str) -> dict[str, Any]:
    """Return the pool of the profile's file with a name and a cap for one master of the harness.

    Metrics are not served: several masters would want the same port.

    :raises InvalidConfiguration: the file is no good.
    """
    assert profile.pool is not None
    pool = load_pool(profile.pool).model_dump(mode="json", exclude_unset=True)
    master = {key: value for key, value in pool["master"].items() if key != "metrics"}
    cap = profile.hosts * profile.slots
    return pool | {"master": master | {"name": name, "max_vms": cap}}


def label_of(profile: DeploymentProfile) -> str:
    """Return the label of the VMs that run jobs.

    :raises ConfigurationError: the operator's file does not have it.
    """
    if profile.pool is None:
        return LABEL
    labels = list(load_pool(profile.pool).labels)
    wanted = profile.label or labels[0]
    if wanted not in labels:
        raise ConfigurationError(
            f"{profile.pool} has no label {wanted}",
            details=suggestion(wanted, labels, kind="labels"),
            resolution="Correct deployment.label in the profile.",
        )
    return wanted
