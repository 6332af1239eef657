# SPDX-License-Identifier: GPL-2.0-only
"""The model of ``pool.yaml``: its sections, and what has to agree across them.

The sections are in ``sections/``. ``fields/`` checks single values, ``rules/`` what has to
agree. Everything is immutable and compares by value: by ``==``, a reconfig sees what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from latent_libvirt.config import rules
from latent_libvirt.config.defaults import merged
from latent_libvirt.config.destinations import (
    Group,
    ready_made_group,
)
from latent_libvirt.config.faults import FAULT, fault, raise_located
from latent_libvirt.config.fields.names import ByName, SomeByName
from latent_libvirt.config.fields.numbers import MOST_VMS
from latent_libvirt.config.hardware.devices import slots_with
from latent_libvirt.config.section import Section
from latent_libvirt.config.sections.host import HostConfig, HostDefaults
from latent_libvirt.config.sections.image import ImageConfig
from latent_libvirt.config.sections.label import LabelConfig, LabelDefaults
from latent_libvirt.config.sections.master import MasterConfig

if TYPE_CHECKING:
    from latent_libvirt.config.destinations import (
        DestinationConfig,
    )


class DefaultsConfig(Section):
    """Keys that hosts and labels have unless they say otherwise."""

    hosts: HostDefaults = Field(
        default_factory=HostDefaults, examples=["{storage_pool: builds, slots: 8}"]
    )
    """Keys of all hosts: any of `hosts` but `uri`."""

    labels: LabelDefaults = Field(
        default_factory=LabelDefaults, examples=["{memory: 2GiB, vcpus: 2}"]
    )
    """Keys of all labels: any of `labels`."""


class PoolConfig(Section):
    """All of ``pool.yaml``."""

    master: MasterConfig
    """The Buildbot master that the pool belongs to."""

    hosts: SomeByName[HostConfig]
    """The machines with libvirt and QEMU, by names of your choice."""

    images: ByName[ImageConfig] = Field(default_factory=lambda: MappingProxyType({}))
    """Base images that are pinned, renamed or volumes of your own; all others need no entry."""

    network_groups: ByName[Group] = Field(default_factory=lambda: MappingProxyType({}))
    """Lists of destinations that a label's `allow` names. They replace ready-made groups of the
    same name."""

    labels: SomeByName[LabelConfig]
    """Kinds of VMs that jobs ask for, by names of your choice."""

    defaults: DefaultsConfig = Field(default_factory=DefaultsConfig, exclude=True)
    """Keys that all hosts or all labels have unless they say otherwise."""

    def __hash__(self) -> int:
        sections = (self.hosts, self.images, self.network_groups, self.labels)
        return hash((self.master, *(frozenset(section.items()) for section in sections)))

    @property
    def uses_tcp(self) -> bool:
        """Whether workers of any label connect to the master's port."""
        return any(label.connection == "tcp" for label in self.labels.values())

    def image_for(self, label: LabelConfig) -> ImageConfig:
        """Return the image of *label*, with its published name unless it is a volume."""
        image = self.images.get(label.image, ImageConfig())
        keys = image.require_signed or self.master.require_signed
        if image.volume is not None:
            return image
        return image.model_copy(update={"name": image.name or label.image, "require_signed": keys})

    def destinations_of(self, label: LabelConfig) -> tuple[DestinationConfig, ...]:
        """Return the names and ports that guests of *label* may reach through their master."""
        found: list[DestinationConfig] = []
        for item in label.network.allow or ():
            found += [item] if item.group is None else self._group(item.group)
        return tuple(dict.fromkeys(found))

    def _group(self, name: str) -> tuple[DestinationConfig, ...]:
        group = self.network_groups.get(name)
        return ready_made_group(name) if group is None else group

    def hosts_for(self, label_name: str) -> tuple[str, ...]:
        """Return the names of the hosts that may run the label of that name.

        :raises KeyError: if there is no such label.
        """
        hosts = self.labels[label_name].hosts
        return tuple(self.hosts) if hosts is None else hosts

    def slots_with_devices(self, label_name: str) -> dict[str, int]:
        """Return the last slot of each host that a VM may have which needs devices.

        It is empty for a label that needs none, whose VMs may have any slot.
        """
        wanted = self.labels[label_name].devices
        hosts = self.hosts_for(label_name) if wanted else ()
        return {host: slots_with(self.hosts[host].devices, wanted) for host in hosts}

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report what does not agree across sections together with what is wrong in each."""
        if not isinstance(data, Mapping):
            return handler(data)
        data = merged(data, {"hosts": HostDefaults, "labels": LabelDefaults})
        faults = list(rules.faults(data))
        try:
            config = handler(_with_caps(data))
        except ValidationError as error:
            if not faults:
                raise
            details = [_again(line) for line in error.errors()]
            details += [InitErrorDetails(type=f, loc=loc, input=None) for loc, f in faults]
            raise ValidationError.from_exception_data(cls.__name__, details) from None
        raise_located(cls.__name__, faults)
        return config


def _again(line: Any) -> InitErrorDetails:
    """Return an error of a ValidationError in the form that makes it one of another."""
    kind, context = line["type"], line.get("ctx", {})
    if kind == FAULT:
        kind = fault(context["what"], context["remedy"], beside=context["beside"])
    return InitErrorDetails(type=kind, loc=line["loc"], input=line["input"], ctx=context)


def _with_caps(data: Any) -> Any:
    """Give each label that says nothing else the cap of the master."""
    master, labels = data.get("master"), data.get("labels")
    if not isinstance(master, Mapping) or not isinstance(labels, Mapping):
        return data
    cap = master.get("max_vms")
    if type(cap) is not int or not 0 <= cap <= MOST_VMS:
        return data
    filled = {
        name: {"max_vms": cap, **label} if isinstance(label, Mapping) else label
        for name, label in labels.items()
    }
    return {**data, "labels": filled}
