# SPDX-License-Identifier: GPL-2.0-only
"""Processors, machines and sets of CPUs."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Strict,
)

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written, matching, text_schema
from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.config.text import quoted

_CPU_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}( [+-][a-z0-9][a-z0-9_.-]{0,39}){0,64}$"
_MACHINE_PATTERN = r"^[a-z0-9][a-z0-9.-]{0,39}$"


def cpu_set(text: str) -> str:
    """Return *text* if it is a set of CPUs.

    :raises PydanticCustomError: if not.
    """
    if not cpu_sets.is_one(text):
        raise fault(f"{quoted(text)} is not a set of CPUs", "write it like 2-5 or 2,4, in quotes")
    if not cpu_sets.cpus(text):
        raise fault(f"{quoted(text)} has no CPU", "write the smaller number first")
    if max(cpu_sets.cpus(text)) >= cpu_sets.MOST_CPUS:
        raise fault(f"{quoted(text)} is out of reach", f"write numbers below {cpu_sets.MOST_CPUS}")
    return text


def _list_of_sets(value: object) -> object:
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a list", "write a set for each slot: ['2-3', '4-5']")
    return value


def _apart(sets: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse sets that share a CPU: two VMs would."""
    slots: dict[int, int] = {}
    faults = [
        ((index,), fault(f"CPU {cpu} is in another set already", "have each CPU in one set only"))
        for index, text in enumerate(sets)
        for cpu in cpu_sets.cpus(text)
        if slots.setdefault(cpu, index) != index
    ]
    raise_located("sets", faults[:1])
    return sets


_MODES = {
    **dict.fromkeys(("host", "hostpassthrough", "passthrough", "native"), "host"),
    "hostmodel": "host-model",
    **dict.fromkeys(("max", "maximum"), "maximum"),
}
"""What is meant by words that are no model of libvirt's, without hyphens and in small letters."""


def _mode(text: str) -> str:
    """Refuse a slip of `host`, `host-model` or `maximum`, which would be taken for a model."""
    name = text.partition(" ")[0]
    meant = _MODES.get(re.sub(r"[-_]", "", name.lower()), name)
    if meant != name:
        raise fault(f"{quoted(name)} is no processor", f"did you mean {meant!r}?")
    return text


Cpu = Annotated[
    str,
    Strict(),
    AfterValidator(
        matching(
            _CPU_PATTERN,
            "a processor",
            "write `host`, `host-model`, `maximum` or a model of libvirt's, and then features "
            "like +vmx or -avx2, as in 'Skylake-Server -avx512f'",
        )
    ),
    AfterValidator(_mode),
    text_schema(pattern=_CPU_PATTERN),
    Written("processor"),
]

Machine = Annotated[
    str,
    Strict(),
    AfterValidator(
        matching(_MACHINE_PATTERN, "a machine", "write one of `qemu-system-x86_64 -machine help`")
    ),
    text_schema(pattern=_MACHINE_PATTERN),
    Written("machine"),
]

CpuSets = Annotated[
    tuple[Annotated[str, Strict(), AfterValidator(cpu_set)], ...],
    BeforeValidator(_list_of_sets),
    AfterValidator(_apart),
    Written("list of sets of CPUs"),
]
