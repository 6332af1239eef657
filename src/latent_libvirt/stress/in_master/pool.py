# SPDX-License-Identifier: GPL-2.0-only
"""Pool of a stressed master: hosts of libvirt's test driver, each with the same slots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import DeploymentProfile

LABEL: Final = "simulated"

_NODE: Final = """\
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


def pool_yaml(directory: Path, profile: DeploymentProfile, *, name: str) -> dict[str, Any]:
    """Return a pool of simulated hosts, and write what they are into the master's directory.

    :param name: of the master.
    """
    hosts, slots = profile.hosts, profile.slots
    node = directory / "node.xml"
    node.write_text(_NODE)
    return {
        "master": {"name": name, "max_vms": hosts * slots, "address": "127.0.0.1"},
        "hosts": {f"host-{n}": _host(node, n, slots) for n in range(1, hosts + 1)},
        "images": {"base": {"volume": "base.qcow2"}},
        "labels": {LABEL: {"image": "base", "spares": profile.spares, "start": "boot"}},
    }


def _host(node: Path, number: int, slots: int) -> dict[str, Any]:
    return {
        # The slashes make each a separate hypervisor, from one file.
        "uri": f"test://{'/' * number}{node}",
        "slots": slots,
        "storage_pool": "builds",
        "accelerator": "tcg",
    }
