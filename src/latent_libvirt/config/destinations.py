# SPDX-License-Identifier: GPL-2.0-only
"""Destinations: names with ports, and groups of them, that guests without a card may reach.

The ready-made groups are in ``groups.py``. ``network_groups`` of a
``pool.yaml`` adds groups, and replaces those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    WithJsonSchema,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from latent_libvirt.config import groups
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.addresses import LARGEST_PORT
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import NAME_PATTERN, Name
from latent_libvirt.config.fields.numbers import Flag
from latent_libvirt.config.groups import is_address
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import described, quoted

MOST_DESTINATIONS = 1000
"""Bounds a list: each request of a guest is compared with it."""

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_EXAMPLE = "for example files.example.org:443"
_FEW = 3


class DestinationConfig(Section):
    """What guests may reach: a group, or a name with a port."""

    group: Name | None = Field(default=None, examples=["debian"])
    """Name of a group. `debian` stands for `{group: debian}`. A group cannot have groups."""

    name: Annotated[str, Strict(), AfterValidator(lambda text: dns_name(text))] | None = Field(  # noqa: PLW0108 - it stands below
        default=None, examples=["files.example.org"]
    )
    """Host name. The master looks up its addresses. `files.example.org:443` stands for `{name:
    files.example.org, port: 443}`. IP addresses and wildcards are refused."""

    port: Annotated[int, Strict(), Field(ge=1, le=LARGEST_PORT)] | None = Field(
        default=None, examples=[443]
    )
    """TCP port of that host."""

    private: Flag = Field(default=False, examples=["true"])
    """With `true`, the name may have addresses of a private network, or of the master's machine.
    Without it, guests are refused a name that has such an address."""

    @property
    def is_in_guest(self) -> bool:
        """Whether guests take the name for themselves.

        ``no_proxy`` of a guest (``guest/launcher/link/loopback.py``) has it, so programs do not ask
        the proxy for it, nor for names that end with it.
        """
        return f".{self.name}".endswith(".localhost")

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        if self.group is not None:
            return self.group
        if self.private:
            return {"name": self.name, "port": self.port, "private": True}
        return f"{self.name}:{self.port}"


def dns_name(text: str) -> str:
    """Return the name in small letters, without a dot at its end.

    :raises PydanticCustomError: it is not the name of one host.
    """
    name = text.lower().removesuffix(".")
    if is_address(name):
        raise fault(f"{quoted(text)} is an IP address", "write the name of the host")
    if "*" in name:
        raise fault(f"{quoted(text)} has a wildcard", f"name each host, {_EXAMPLE}")
    if not name.isascii():
        remedy = "write it as DNS has it, with xn--"
        raise fault(f"{quoted(text)} is not a host name in ASCII", remedy)
    if not _DNS_NAME.fullmatch(name):
        raise fault(f"{quoted(text)} is not a host name", f"write only that, {_EXAMPLE}")
    return name


def _destination(value: object) -> object:
    """Take a text for a group or for a name with a port."""
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, Mapping):
        _refuse_name_as_key(value)
        if set(value) <= set(DestinationConfig.model_fields):
            _refuse_half(value)
    elif not isinstance(value, DestinationConfig):
        what = f"{described(value)} where a name with a port belongs"
        raise fault(what, f"write both, {_EXAMPLE}")
    return value


def _refuse_name_as_key(value: Mapping[str, object]) -> None:
    """Refuse ``{a.example: 80}``, which is ``a.example:80`` with a space."""
    texts = _texts(value)
    if len(texts) == 1:
        raise fault("a name and its port are a mapping", f"write {texts[0]}, without a space")


def _texts(value: Mapping[str, object]) -> list[str]:
    """Return the destinations that a mapping of names to ports stands for; none if it is none."""
    if set(value) & set(DestinationConfig.model_fields):
        return []
    texts = [f"{name}:{port}" for name, port in value.items()]
    return texts if all(map(_is_name_with_port, texts)) else []


def _is_name_with_port(text: str) -> bool:
    try:
        return "name" in _parsed(text)
    except PydanticCustomError:
        return False


def _parsed(text: str) -> dict[str, Any]:
    if "/" in text:
        raise fault(f"{quoted(text)} is not a name with a port", f"write only these, {_EXAMPLE}")
    host, colon, port = text.rpartition(":")
    if not colon and re.fullmatch(NAME_PATTERN, text) and not is_address(text):
        return {"group": text}
    if not colon or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > LARGEST_PORT:
        dns_name(text if not colon else host)
        raise fault(f"{quoted(text)} does not end with a port", f"add it, {_EXAMPLE}")
    return {"name": dns_name(host), "port": int(port)}


def _refuse_half(value: Mapping[str, object]) -> None:
    given = {key for key, part in value.items() if part is not None}
    if "group" in given and given & {"name", "port", "private"}:
        raise fault("a group stands beside other keys", "keep `group`, or the others")
    if "group" not in given and not {"name", "port"} <= given:
        raise fault("a name or its port is missing", f"write both, {_EXAMPLE}")


def _some(items: tuple[DestinationConfig, ...]) -> tuple[DestinationConfig, ...]:
    if not items:
        raise fault("the list is empty", "name what guests may reach, or write `network: none`")
    return items


def _no_groups(items: tuple[DestinationConfig, ...]) -> tuple[DestinationConfig, ...]:
    if not items:
        raise fault("the list is empty", f"name a host with its port, {_EXAMPLE}")
    for item in items:
        if item.group is not None:
            what = f"the group {quoted(item.group)} stands in a group"
            raise fault(what, f"write names with ports, {_EXAMPLE}")
    return items


def _list_of(example: str, pattern: str | None = None) -> Callable[[object], object]:
    """Return a validator of lists.

    :param example: what could stand there.
    :param pattern: of texts, beside names with ports, that could stand in the list.
    """

    def check(value: object) -> object:
        if isinstance(value, list | tuple):
            return value
        if isinstance(value, str):
            fits = _is_name_with_port(value) or (pattern and re.fullmatch(pattern, value))
            remedy = f"write it in brackets: [{value}]" if fits else f"write one, like {example}"
            raise fault(f"{quoted(value)} is not a list", remedy)
        texts = _texts(value) if isinstance(value, Mapping) else []
        shown = f"[{', '.join(texts[:_FEW])}]" if texts else example
        raise fault(f"{described(value)} where a list belongs", f"write one, like {shown}")

    return check


_DESTINATION_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"group": {"type": "string"}},
            "required": ["group"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "port": {"type": "integer", "minimum": 1, "maximum": LARGEST_PORT},
                "private": {"type": "boolean"},
            },
            "required": ["name", "port"],
            "additionalProperties": False,
        },
    ]
}

ALLOW_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_DESTINATIONS,
    "items": _DESTINATION_SCHEMA,
}

Destination = Annotated[DestinationConfig, BeforeValidator(_destination)]

Destinations = Annotated[
    tuple[Destination, ...],
    BeforeValidator(_list_of("[debian, files.example.org:443]", NAME_PATTERN)),
    Field(max_length=MOST_DESTINATIONS),
    AfterValidator(_some),
    WithJsonSchema(ALLOW_SCHEMA),
    Written("list of `NAME:PORT` and groups"),
]

Group = Annotated[
    tuple[Destination, ...],
    BeforeValidator(_list_of("[files.example.org:443]")),
    Field(max_length=MOST_DESTINATIONS),
    AfterValidator(_no_groups),
    WithJsonSchema(ALLOW_SCHEMA),
    Written("list of `NAME:PORT`"),
]


def ready_made_group(name: str) -> tuple[DestinationConfig, ...]:
    """Return the destinations of a ready-made group; none if there is no such group."""
    texts = groups.ready_made().get(name, ())
    return tuple(DestinationConfig(**_parsed(text)) for text in texts)
