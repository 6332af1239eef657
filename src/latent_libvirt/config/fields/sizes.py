# SPDX-License-Identifier: GPL-2.0-only
"""Sizes of memory, disks and space, in bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
)

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written, as_text, text_schema
from latent_libvirt.config.units import (
    MIB,
    SIZE_PATTERN,
    TIB,
    format_size,
    parse_size,
)

DEFAULT_MEMORY = 512 * MIB
"""What a VM has if its label does not say."""

SMALLEST_MEMORY = 32 * MIB
SMALLEST_DISK = 32 * MIB
SMALLEST_SAVED_STATE_SPACE = 32 * MIB
DEFAULT_SAVED_STATE_SPACE = 20 * 1024 * MIB
DEFAULT_FETCH_CACHE = 1024 * MIB
LARGEST_SIZE = 64 * TIB


def _at_least(smallest: int, what: str) -> Callable[[int], int]:
    def check(size: int) -> int:
        if size < smallest:
            shown = f"{size / MIB:g}MiB"
            raise fault(f"{shown} {what}", f"write at least {format_size(smallest)}")
        if size > LARGEST_SIZE:
            raise fault("the size is out of reach", f"write at most {format_size(LARGEST_SIZE)}")
        return size

    return check


Memory = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_MEMORY, "of memory is too little to boot")),
    as_text(format_size),
    text_schema(pattern=SIZE_PATTERN),
    Written("size"),
]

DiskSize = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_DISK, "is too small for a disk")),
    as_text(format_size),
    text_schema(pattern=SIZE_PATTERN),
    Written("size"),
]

SavedStateSpace = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_SAVED_STATE_SPACE, "is too little for a saved VM")),
    as_text(format_size),
    text_schema(pattern=SIZE_PATTERN),
    Written("size"),
]

CacheSpace = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(0, "is too little")),
    as_text(format_size),
    text_schema(pattern=SIZE_PATTERN),
    Written("size"),
]
