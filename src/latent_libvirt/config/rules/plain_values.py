# SPDX-License-Identifier: GPL-2.0-only
"""Values of ``pool.yaml`` as they stand there, valid or not, for rules to compare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from pydantic_core import PydanticCustomError

from latent_libvirt.config.fields.names import NAME_PATTERN
from latent_libvirt.config.text import Location
from latent_libvirt.config.units import parse_size

Fault = tuple[Location, PydanticCustomError]
"""What does not agree, and where it stands in the file."""


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the section *name* of the file, or an empty one if it is none."""
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def at(config: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the mapping at *place*, or an empty one if there is none."""
    found: object = config
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def is_name(value: object) -> TypeGuard[str]:
    """Return whether *value* is what hosts, images and labels are called."""
    return isinstance(value, str) and re.fullmatch(NAME_PATTERN, value) is not None


def whole_number(value: object) -> int | None:
    """Return *value* if it is a whole number, which ``True`` is not."""
    return value if type(value) is int else None


def size_in_bytes(value: object) -> int | None:
    """Return the bytes of a size such as ``2GiB``, or ``None`` if it is none."""
    try:
        return parse_size(value)
    except PydanticCustomError:
        return None


def largest(value: object) -> object:
    """Return the most that builds may choose, where they may."""
    return value.get("max") if isinstance(value, Mapping) else value


def hosts_of(label: Mapping[str, Any], hosts: Mapping[str, Any]) -> list[Any]:
    """Return the hosts that *label* names, or all of them if it names none."""
    given = label.get("hosts")
    return [*given] if isinstance(given, list | tuple) else [*hosts]


def allow_of(label: Mapping[str, Any]) -> object:
    """Return what the label's `allow` has, or ``None`` if it has none."""
    network = label.get("network")
    return network.get("allow") if isinstance(network, Mapping) else None


def some(number: int, thing: str) -> str:
    """Return *number* with its noun, such as ``2 slots``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
