# SPDX-License-Identifier: GPL-2.0-only
"""Specifications of small VMs."""

from __future__ import annotations

from typing import Any

from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.host.domains.vm_spec import VmSpec


def a_spec(*, image: str = "i", **label: Any) -> VmSpec:
    """Return a specification of a VM with one CPU and 64 MiB, unless *label* says otherwise."""
    small = {"image": image, "vcpus": 1, "memory": "64MiB", **label}
    return VmSpec(LabelConfig.model_validate(small), ImageConfig(name=image))
