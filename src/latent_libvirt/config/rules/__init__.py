# SPDX-License-Identifier: GPL-2.0-only
"""Rules about what has to agree across the keys and sections of ``pool.yaml``.

They work on the plain values of the file, valid or not. So a missing image is reported together
with a wrong unit elsewhere, not after it. Each module has the rules that compare the same things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.hardware import architecture_rules
from latent_libvirt.config.rules import (
    budgets,
    fragments,
    freezing,
    hosts,
    images,
    limits,
    networks,
)
from latent_libvirt.config.rules.plain_values import section

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import Fault

OF_LABELS = (images, hosts, freezing, networks, fragments, budgets, limits)
"""The modules with rules about each label, in the order in which problems are reported."""


def faults(config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree, each with its location in *config*."""
    yield from hosts.among_themselves(section(config, "hosts"))
    yield from images.by_themselves(section(config, "images"))
    for name, label in section(config, "labels").items():
        if isinstance(label, Mapping):
            yield from _other_architecture(name, label)
            for rules in OF_LABELS:
                yield from rules.of_label(name, label, config)


def _other_architecture(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find what the label's architecture does not have."""
    for key, found in architecture_rules.faults(label):
        yield ("labels", name, key), found
