# SPDX-License-Identifier: GPL-2.0-only
"""Names: of what the file itself names, of things of libvirt's, and of users and images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    WrapSerializer,
)

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written, matching, text_schema
from latent_libvirt.config.text import quoted

T = TypeVar("T")
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
LONGEST_WORKER_NAME = 50
"""Characters: the width of ``workers.name`` in Buildbot's database (``buildbot/db/model.py``)."""

_DIGEST_PATTERN = r"^[0-9a-f]{12,64}$"
_USER_PATTERN = r"^[a-z_][a-z0-9_-]{0,31}$"
_LONGEST_LIBVIRT_NAME = 255
"""Bytes of a file's name, which those of volumes, pools and networks are."""


def _name(text: str) -> str:
    if re.fullmatch(NAME_PATTERN, text):
        return text
    if text == "<<":
        raise fault("YAML merge keys are not supported", "write the keys out")
    near = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40]
    rule = "at most 40 small letters, digits and hyphens, not starting with a hyphen"
    raise fault(f"{quoted(text)} is not a name: {rule}", f"use {near!r}" if near else "rename it")


def _libvirt_name(text: str) -> str:
    if not text or not text.isprintable() or "/" in text or text in {".", ".."}:
        raise fault(f"{quoted(text)} cannot be a name in libvirt", "write it without '/'")
    if text != text.strip():
        raise fault(f"{quoted(text)} begins or ends with a space", f"write {quoted(text.strip())}")
    if len(text.encode()) > _LONGEST_LIBVIRT_NAME:
        what = f"{quoted(text)} is too long for a name in libvirt"
        raise fault(what, f"write at most {_LONGEST_LIBVIRT_NAME} bytes")
    return text


def _interface(text: str) -> str:
    """Accept what Linux does (``dev_valid_name`` in ``net/core/dev.c``)."""
    if not re.fullmatch(r"[^\s/:]{1,15}", _libvirt_name(text)) or len(text.encode()) > 15:  # noqa: PLR2004
        raise fault(
            f"{quoted(text)} cannot be the name of a bridge",
            "write it as 'ip link' shows it: at most 15 bytes, without spaces, '/' and ':'",
        )
    return text


def _list(value: object) -> object:
    if isinstance(value, str):
        shown = value if re.fullmatch(NAME_PATTERN, value) else quoted(value)
        raise fault(f"{quoted(value)} is not a list", f"write [{shown}]")
    return value


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise fault("the list is empty", "name a host, or remove the key to allow all of them")
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    raise_located(
        "hosts",
        [
            ((index,), fault(f"{quoted(name)} is there already", "remove one of them"))
            for index, name in enumerate(names)
            if first[name] != index
        ],
    )
    return names


def _read_only(mapping: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType(dict(mapping))


def _dict_of(mapping: Mapping[str, T], dump: SerializerFunctionWrapHandler) -> Any:
    return dump(dict(mapping))  # pydantic cannot write a MappingProxyType


Name = Annotated[
    str, Strict(), AfterValidator(_name), text_schema(pattern=NAME_PATTERN), Written("name")
]

LibvirtName = Annotated[
    str, Strict(), AfterValidator(_libvirt_name), text_schema(pattern=r"^[^/]+$"), Written("text")
]

Interface = Annotated[
    str,
    Strict(),
    AfterValidator(_interface),
    text_schema(pattern=r"^[^\s/:]{1,15}$"),
    Written("interface"),
]

Digest = Annotated[
    str,
    Strict(),
    AfterValidator(
        matching(
            _DIGEST_PATTERN,
            "a digest: 12 to 64 hexadecimal digits in small letters",
            "copy it from `latent-libvirt image list`",
        )
    ),
    text_schema(pattern=_DIGEST_PATTERN),
    Written("12 to 64 hexadecimal digits"),
]

UserName = Annotated[
    str,
    Strict(),
    AfterValidator(matching(_USER_PATTERN, "a user's name on Linux", "use one like 'worker'")),
    text_schema(pattern=_USER_PATTERN),
    Written("user name"),
]

HostNames = Annotated[
    tuple[str, ...], BeforeValidator(_list), AfterValidator(_each_once), Written("list of names")
]

ByName = Annotated[Mapping[Name, T], AfterValidator(_read_only), WrapSerializer(_dict_of)]
"""Things by their names, in the order of the file; cannot be changed."""

SomeByName = Annotated[
    Mapping[Name, T],
    Field(min_length=1),
    AfterValidator(_read_only),
    WrapSerializer(_dict_of),
]
"""The same, of at least one thing."""
