# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of VMs and vCPUs, factors, shares and flags."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
)

from latent_libvirt.config.budgets import LEAST_OVERCOMMIT, MOST_OVERCOMMIT
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written, as_text, text_schema
from latent_libvirt.config.text import quoted

MOST_VMS = 10_000
"""Bounds every count of VMs: Buildbot gets a worker for each."""

MOST_VCPUS_OF_A_VM = 512
MOST_VCPUS = 100_000
"""Bounds those of a whole host."""

DEFAULT_VCPUS = 1
_SHARE_PATTERN = r"^[1-9][0-9]?%$"


def _share(value: object) -> object:
    """Return the part of one that a percentage is."""
    if not isinstance(value, str) or not re.fullmatch(_SHARE_PATTERN, value):
        raise fault(
            f"{quoted(str(value))} is not a share",
            "write a whole percentage from 1% to 99%, like 10%",
        )
    return int(value.removesuffix("%")) / 100


VmCount = Annotated[int, Strict(), Field(ge=0, le=MOST_VMS)]
VcpuCount = Annotated[int, Strict(), Field(ge=1, le=MOST_VCPUS)]
Overcommit = Annotated[
    float, Strict(), Field(ge=LEAST_OVERCOMMIT, le=MOST_OVERCOMMIT), Written("factor")
]

Share = Annotated[
    float,
    BeforeValidator(_share),
    as_text(lambda share: f"{share * 100:g}%"),
    text_schema(pattern=_SHARE_PATTERN),
    Written("percentage"),
]

Flag = Annotated[bool, Strict()]
