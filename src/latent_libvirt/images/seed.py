# SPDX-License-Identifier: GPL-2.0-only
"""Seed disk of an import: what cloud-init in the guest reads and runs (its data source NoCloud).

cloud-init takes a disk with the label ``cidata`` for its configuration. ``bootcmd`` is the first
part of that, before users, ssh keys and packages. It ends with the machine off, so cloud-init
changes nothing else.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Final

import pycdlib

_LABEL: Final = "cidata"
_PLACE: Final = "/var/tmp/latent-libvirt-import"  # noqa: S108 - in the guest, for this one boot
_UNPACK: Final = f"""
mkdir -p {_PLACE}.seed {_PLACE}
mount -o ro /dev/disk/by-label/{_LABEL} {_PLACE}.seed || mount -o ro /dev/vdb {_PLACE}.seed
tar -xf {_PLACE}.seed/payload.tar -C {_PLACE}
umount {_PLACE}.seed
rmdir {_PLACE}.seed
exec sh {_PLACE}/install "$0"
"""

BEGUN: Final = "begun"
"""The word after the mark that says that cloud-init has read the seed."""


def user_data(mark: str) -> str:
    """Return what cloud-init is to do.

    :param mark: begins each line that the guest writes for the import to its serial console.
    """
    # The kernel's own messages would come between.
    begun = f"echo 1 >/proc/sys/kernel/printk; printf '\\n%s {BEGUN}\\n' {mark} >/dev/ttyS0"
    commands = [["sh", "-c", begun], ["sh", "-euc", _UNPACK.strip(), mark]]
    return "#cloud-config\n" + json.dumps({"bootcmd": commands}, indent=2) + "\n"


def typed(mark: str) -> bytes:
    """Return what a shell of root gets typed, where the seed disk is a tar archive with ``derive``.

    It is one line, and does nothing if it is typed again.
    """
    begun = f"printf '\\n%s {BEGUN}\\n' {mark} >/dev/ttyS0"
    unpack = f"mkdir {_PLACE} && tar -xf /dev/vdb -C {_PLACE}"
    quiet = "echo 1 >/proc/sys/kernel/printk"
    return f"{unpack} && {quiet} && {begun} && exec sh {_PLACE}/derive {mark}\n".encode()


def write_seed(target: Path, payload: Path, *, mark: str) -> None:
    """Write the seed disk.

    :param payload: a tar archive with the program ``install`` and its files.
    :param mark: see :func:`user_data`.
    """
    disk = pycdlib.PyCdlib()
    disk.new(interchange_level=3, vol_ident=_LABEL, joliet=3, rock_ridge="1.09")
    meta_data = json.dumps({"instance-id": mark}).encode()
    for name, data in {"user-data": user_data(mark).encode(), "meta-data": meta_data}.items():
        short = name.replace("-", "").upper()
        disk.add_fp(
            io.BytesIO(data), len(data), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}"
        )
    disk.add_file(str(payload), "/PAYLOAD.TAR;1", rr_name="payload.tar", joliet_path="/payload.tar")
    disk.write(str(target))
    disk.close()
