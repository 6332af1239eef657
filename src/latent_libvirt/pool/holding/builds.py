# SPDX-License-Identifier: GPL-2.0-only
"""The build of a VM that is held or frozen, as its record has it for the next master."""

from __future__ import annotations

import json
from typing import Final

from latent_libvirt.status.names import BuildRef

LONGEST: Final = 2000
"""Characters that a build takes in a record, which has no value of over 4096."""


def written(build: BuildRef | None) -> str:
    """Return what a record says of *build*; nothing if there is none, or its name is too long."""
    if build is None:
        return ""
    for url in (build.url, ""):
        text = json.dumps([build.builder, build.number, url])
        if len(text) <= LONGEST:
            return text
    return ""


def read(text: str) -> BuildRef | None:
    """Return the build that a record says; ``None`` if it says none.

    Anyone who may change a domain may write anything there, and pages make a link of it.
    """
    try:
        builder, number, url = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    if not (isinstance(builder, str) and type(number) is int and isinstance(url, str)):
        return None
    is_link = url.startswith(("http://", "https://"))
    return BuildRef(builder, number, url if is_link else "") if number > 0 else None
