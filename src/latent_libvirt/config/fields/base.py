# SPDX-License-Identifier: GPL-2.0-only
"""Parts that fields share: how one is described, checked against a pattern, and written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import (
    BaseModel,
    PlainSerializer,
    WithJsonSchema,
)

from latent_libvirt.config.faults import fault
from latent_libvirt.config.text import quoted


class Written(str):
    """A word for the kind of a value, as the reference of ``pool.yaml`` has it."""

    __slots__ = ()


@dataclass(frozen=True)
class OrSection:
    """A mark of a field in whose place a section may stand."""

    model: type[BaseModel]


def matching(pattern: str, what: str, remedy: str) -> Callable[[str], str]:
    """Return a validator of texts that match all of *pattern*."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise fault(f"{quoted(text)} is not {what}", remedy)
        return text

    return check


def as_text(format_value: Callable[[Any], str]) -> PlainSerializer:
    """Write a value in JSON (a schema's default, say) as the file would have it."""
    return PlainSerializer(format_value, return_type=str, when_used="json-unless-none")


def text_schema(**schema: Any) -> WithJsonSchema:
    """Return the JSON schema of a text."""
    return WithJsonSchema({"type": "string", **schema})
