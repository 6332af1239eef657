# SPDX-License-Identifier: GPL-2.0-only
"""Paths of hosts."""

from __future__ import annotations

import posixpath
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Strict,
)

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.text import quoted


def _list_of_paths(value: object) -> object:
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a list", "write it in brackets: [/srv/vms]")
    return value


def _path(text: str) -> str:
    plain = posixpath.normpath(text)
    if not text.startswith("/") or not text.isprintable() or plain.startswith("//"):
        raise fault(f"{quoted(text)} is not a whole path", "write it from / on, like /srv/vms")
    if text.rstrip("/") != plain.rstrip("/"):
        raise fault(f"{quoted(text)} goes up or repeats '/'", f"write {plain}")
    return plain


Paths = Annotated[
    tuple[Annotated[str, Strict(), AfterValidator(_path)], ...],
    BeforeValidator(_list_of_paths),
    Written("list of paths"),
]
