# SPDX-License-Identifier: GPL-2.0-only
"""Ready-made groups of destinations, as ``network_groups.yaml`` beside this file has them."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping
from importlib import resources

import yaml


@functools.cache
def ready_made() -> Mapping[str, tuple[str, ...]]:
    """Return the groups that need no entry in ``network_groups``, as text."""
    text = resources.files("latent_libvirt.config").joinpath("network_groups.yaml").read_text()
    return {name: tuple(items) for name, items in yaml.safe_load(text).items()}


def is_address(name: str) -> bool:
    """Whether *name* is an IP address, or what resolvers read as one, such as ``127.1``."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        last = name.rpartition(".")[2]
        return re.fullmatch("[0-9]+|0x[0-9a-f]*", last) is not None
    return True
