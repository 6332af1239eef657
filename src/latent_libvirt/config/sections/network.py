# SPDX-License-Identifier: GPL-2.0-only
"""The key ``network`` of a label: what a guest can reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    model_serializer,
)

from latent_libvirt.config.destinations import (
    ALLOW_SCHEMA,
    Destinations,
)
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import Interface, LibvirtName
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import described, quoted


class NetworkConfig(Section):
    """A guest's network: one of the keys, or none of them for QEMU's user-mode network."""

    network: LibvirtName | None = Field(default=None, examples=["default"])
    """Name of a libvirt network of the host."""

    bridge: Interface | None = Field(default=None, examples=["br0"])
    """Name of a bridge of the host."""

    allow: Destinations | None = Field(default=None, examples=["[debian, files.example.org:443]"])
    """All that the guest can reach, through its master. The guest has no network card, so it
    excludes `connection: tcp`."""

    @property
    def kind(self) -> Literal["user", "network", "bridge", "none"]:
        """Return what the guest's network card is connected to; `none` if it has no card."""
        if self.allow is not None:
            return "none"
        if self.network is not None:
            return "network"
        return "bridge" if self.bridge is not None else "user"

    @property
    def source(self) -> str | None:
        """Return the name of the libvirt network or bridge; ``None`` for the user-mode network."""
        return self.network or self.bridge

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        if self.allow is not None:
            return {"allow": [destination.model_dump() for destination in self.allow]}
        return {self.kind: self.source} if self.source is not None else self.kind


class NoNetworkConfig(NetworkConfig):
    """No network: the guest has no network card."""

    @property
    def kind(self) -> Literal["none"]:
        """Return that nothing connects the guest."""
        return "none"


def _network(value: object) -> object:
    """Take `user` and `none` for the networks that need no name."""
    remedy = "write `user`, `none`, `{network: NAME}`, `{bridge: NAME}` or `{allow: [...]}`"
    if value == "user":
        return {}
    if value == "none":
        return NoNetworkConfig()
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a kind of network", remedy)
    if not isinstance(value, Mapping | NetworkConfig):
        raise fault(f"{described(value)} where a network belongs", remedy)
    if isinstance(value, Mapping) and not any(value.values()) and value.get("allow") is None:
        raise fault("no network is named", remedy)
    if isinstance(value, Mapping) and {"network", "bridge"} <= set(value):
        raise fault("both a network and a bridge are named", "keep one of them")
    if isinstance(value, Mapping) and "allow" in value and {"network", "bridge"} & set(value):
        raise fault("`allow` is for guests without a network", "keep one of the two keys")
    return value


_NETWORK_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"enum": ["user", "none"]},
        *(
            {
                "type": "object",
                "properties": {key: {"type": "string", "minLength": 1}},
                "required": [key],
                "additionalProperties": False,
            }
            for key in ("network", "bridge")
        ),
        {
            "type": "object",
            "properties": {"allow": ALLOW_SCHEMA},
            "required": ["allow"],
            "additionalProperties": False,
        },
    ]
}


Network = Annotated[
    NetworkConfig,
    BeforeValidator(_network),
    WithJsonSchema(_NETWORK_SCHEMA),
    Written("`user`, `none`, `{network: NAME}`, `{bridge: NAME}`, `{allow: [...]}`"),
]
