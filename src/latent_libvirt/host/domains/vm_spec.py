# SPDX-License-Identifier: GPL-2.0-only
"""Specification of a VM: everything that it is made of, from its label and its image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig


@dataclass(frozen=True)
class Network:
    """How a guest is connected: QEMU's user-mode network, a libvirt network, a bridge, or not.

    :param filter: the libvirt filter that its label names for what it sends, ``none`` for no
        filter; ``None`` for the default one, where there is one.
    """

    kind: Literal["user", "network", "bridge", "none"]
    source: str | None = None
    filter: str | None = None

    @classmethod
    def of(cls, label: LabelConfig) -> Network:
        """Return how guests of *label* are connected."""
        return cls(label.network.kind, label.network.source, label.filter)

    def __str__(self) -> str:
        return f"{self.kind} {self.source}"


@dataclass(frozen=True)
class VmSpec:
    """What a VM is made of.

    :param label: of its keys, those count that are marked as hardware.
    """

    label: LabelConfig
    image: ImageConfig

    @cached_property
    def hash(self) -> str:
        """16 hex digits that only specifications of the same VM share."""
        label = self.label.model_dump(mode="json", include=set(self.label.hardware_keys()))
        if self.label.network.allow is not None:
            label["network"] = "allow"  # what guests may reach is no part of the VM
        image = self.image.model_dump(mode="json", exclude={"require_signed", "canary"})
        return hashlib.sha256(json.dumps([_set(label), _set(image)]).encode()).hexdigest()[:16]

    @property
    def network(self) -> Network:
        """How the guest is connected."""
        return Network.of(self.label)


def vm_spec(
    config: PoolConfig, label_name: str, *, vcpus: int | None = None, memory: int | None = None
) -> VmSpec:
    """Return what a VM of that label is made of.

    :param vcpus: in place of the label's.
    :param memory: bytes, in place of the label's.
    """
    label = config.labels[label_name]
    size = {"vcpus": vcpus or label.vcpus, "memory": memory or label.memory}
    return VmSpec(label.model_copy(update=size), config.image_for(label))


def _set(keys: dict[str, object]) -> list[tuple[str, object]]:
    """Return what is set, in a fixed order: a new key that nobody uses changes no hash."""
    return sorted(item for item in keys.items() if item[1] is not None and item not in _LATER)


_LATER: Final[tuple[tuple[str, object], ...]] = (
    ("arch", "x86_64"),
    ("connection", "tcp"),
    ("cpu_pinning", False),
    ("devices", []),
    ("disks", []),
    ("firmware", "bios"),
    ("graphics", False),
    ("hugepages", False),
    ("machine", "q35"),
    ("tpm", False),
)
"""Defaults of keys that came after VMs were saved."""
