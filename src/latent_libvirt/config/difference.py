# SPDX-License-Identifier: GPL-2.0-only
"""The difference between two configurations, in words for a log: ``label small: max_vms 4 → 6``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.units import format_size

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.label import LabelConfig

_SECTIONS = {"hosts": "host", "images": "image", "labels": "label"}


def differences(old: PoolConfig, new: PoolConfig) -> tuple[str, ...]:
    """Return a line for each thing that is added, removed or changed, in the order of the file."""
    before, after = _as_written(old), _as_written(new)
    lines = list(_changes("master", before["master"], after["master"]))
    for section, singular in _SECTIONS.items():
        lines += _section(singular, before[section], after[section])
    lines += _changes("network group", before["network_groups"], after["network_groups"])
    return tuple(lines)


def _as_written(config: PoolConfig) -> dict[str, Any]:
    """Return the configuration as a file would say it, with units."""
    written = config.model_dump(mode="json")
    for name, label in config.labels.items():
        written["labels"][name].update(_bounds(label, written["labels"][name]))
    return written


def _bounds(label: LabelConfig, written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what builds may choose of the size, of which *written* has the default alone."""
    found: dict[str, dict[str, Any]] = {}
    if (vcpus := label.choice.vcpus) is not None:
        found["vcpus"] = {"min": vcpus.least, "max": vcpus.most}
    if (memory := label.choice.memory) is not None:
        found["memory"] = {"min": format_size(memory.least), "max": format_size(memory.most)}
    return {key: {**bounds, "default": written[key]} for key, bounds in found.items()}


def _section(singular: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"{singular} {name} removed"
        elif name not in old:
            yield f"{singular} {name} added"
        else:
            yield from _changes(f"{singular} {name}", old[name], new[name])


def _changes(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield f"{what}: {key} {_shown(old.get(key))} → {_shown(new.get(key))}"


def _shown(value: Any) -> str:
    if value is None:
        return "(default)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items() if part) or "user"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value)
