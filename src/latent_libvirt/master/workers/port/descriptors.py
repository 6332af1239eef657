# SPDX-License-Identifier: GPL-2.0-only
"""Open files of a master, which connections of strangers use up first."""

from __future__ import annotations

import resource
from typing import Final

MOST_DESCRIPTORS: Final = 16_384
"""Open files that a master asks for, if its hard limit lets it."""


def descriptor_limit() -> int:
    """Return how many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Let this process open as many files as its hard limit allows, up to a bound of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
