# SPDX-License-Identifier: GPL-2.0-only
"""Plan of one VM: its slot, its record, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.domains.vm_spec import VmSpec

Start = Literal["boot", "resume", "save"]
"""How a VM comes up: it boots; it is resumed if its slot is saved, else it boots and is saved on
the way; or it boots only to be saved."""


@dataclass(frozen=True)
class MachinePlan:
    """What a VM is to be.

    :param version: the digest of the image's version to take where that is published; empty for
        the newest.
    :param seed: path on the host of a second disk, which the guest may only read; ``None`` for
        none. Only an import has one.
    """

    slot: int
    record: VmRecord
    vm: VmSpec
    start: Start = "boot"
    seed: str | None = None
    version: str = ""
