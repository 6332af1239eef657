# SPDX-License-Identifier: GPL-2.0-only
"""Sizes that builds may choose: bounds in a label, and the properties of a build within them.

A number is all that is taken of a property. Whatever else one has, it is refused.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field, Strict, ValidationError, model_validator

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.numbers import MOST_VCPUS_OF_A_VM
from latent_libvirt.config.fields.sizes import Memory
from latent_libvirt.config.section import Section
from latent_libvirt.config.units import MIB, format_size
from latent_libvirt.errors import ConfigurationError

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig

VCPUS: Final = "vcpus"
MEMORY: Final = "memory_mib"
"""The properties by which a build chooses."""

_DIGITS: Final = re.compile(r"[0-9]{1,9}")


class _Range(Section):
    min: int
    max: int
    default: int

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            remedy = "make `max` larger"
            raise_located("range", [(("max",), fault("it is less than `min`", remedy))])
        if not self.min <= self.default <= self.max:
            remedy = "write a default between `min` and `max`"
            raise_located("range", [(("default",), fault("it is out of the bounds", remedy))])
        return self


class VcpuRange(_Range):
    """Numbers of virtual CPUs that builds may choose."""

    min: Annotated[int, Strict(), Field(ge=1, le=MOST_VCPUS_OF_A_VM)] = Field(examples=[1])
    """Fewest."""

    max: Annotated[int, Strict(), Field(ge=1, le=MOST_VCPUS_OF_A_VM)] = Field(examples=[8])
    """Most."""

    default: Annotated[int, Strict(), Field(ge=1, le=MOST_VCPUS_OF_A_VM)] = Field(examples=[2])
    """Number for builds that choose none."""


class MemoryRange(_Range):
    """Sizes of memory that builds may choose."""

    min: Memory = Field(examples=["512MiB"])
    """Least."""

    max: Memory = Field(examples=["16GiB"])
    """Most."""

    default: Memory = Field(examples=["2GiB"])
    """Size for builds that choose none."""


def default_of(model: type[_Range]) -> Callable[[object], object]:
    """Return a validator that takes the default of a range for the value itself."""

    def default(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        model.model_validate(value)
        return value["default"]  # as it is in the file: it is validated once more

    return default


@dataclass(frozen=True)
class Bounds:
    """What a build may choose of one thing.

    :param unit: of the property; the bounds have it as well.
    """

    least: int
    most: int
    unit: int = 1

    @classmethod
    def of(cls, model: type[_Range], value: object, unit: int = 1) -> Bounds | None:
        """Return what *value*, of the file, allows; ``None`` if there is no choice."""
        if not isinstance(value, Mapping):
            return None
        try:
            found = model.model_validate(value)
        except ValidationError:
            return None  # it is reported where it stands
        return cls(found.min, found.max, unit)

    def chosen(self, value: object) -> int | None:
        """Return what a property chooses; ``None`` if it is no number within the bounds."""
        number = value
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            number = int(value)
        if type(number) is not int or not self.least <= number * self.unit <= self.most:
            return None
        return number * self.unit


@dataclass(frozen=True)
class Choice:
    """What builds may choose of a label's size."""

    vcpus: Bounds | None = None
    memory: Bounds | None = None

    @classmethod
    def of(cls, label: Mapping[str, Any]) -> Choice:
        """Return what a label, as it is in the file, lets builds choose."""
        vcpus = Bounds.of(VcpuRange, label.get("vcpus"))
        return cls(vcpus, Bounds.of(MemoryRange, label.get("memory"), MIB))

    def __bool__(self) -> bool:
        return self.bounds != {}

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The bounds of each property that counts."""
        both = {VCPUS: self.vcpus, MEMORY: self.memory}
        return {name: bounds for name, bounds in both.items() if bounds is not None}


def chosen_size(
    name: str, label: LabelConfig, properties: Mapping[str, object]
) -> tuple[int, int] | None:
    """Return the vCPUs and the bytes of memory that a build gets; ``None`` if it cannot choose.

    :param name: of the label.
    :param properties: of the build; those count whose bounds the label has.
    :raises ConfigurationError: if one is out of the bounds, or no number.
    """
    size = {VCPUS: label.vcpus, MEMORY: label.memory}
    for key, bounds in label.choice.bounds.items():
        value = properties.get(key)
        if value in (None, ""):  # a form has an empty field for what nobody chooses
            continue
        found = bounds.chosen(value)
        if found is None:
            raise _refused(name, key, bounds, value, size[key])
        size[key] = found
    return (size[VCPUS], size[MEMORY]) if label.choice else None


def least_size(label: LabelConfig) -> tuple[int, int]:
    """Return the least vCPUs and memory that a build may choose."""
    vcpus, memory = label.choice.vcpus, label.choice.memory
    return (
        label.vcpus if vcpus is None else vcpus.least,
        label.memory if memory is None else memory.least,
    )


def most_size(label: LabelConfig) -> tuple[int, int]:
    """Return the most vCPUs and memory that a build may choose."""
    vcpus, memory = label.choice.vcpus, label.choice.memory
    return (
        label.vcpus if vcpus is None else vcpus.most,
        label.memory if memory is None else memory.most,
    )


def is_allowed(label: LabelConfig, vcpus: int, memory: int) -> bool:
    """Whether a VM of that size is one that builds may choose."""
    (least_vcpus, least_memory), (most_vcpus, most_memory) = least_size(label), most_size(label)
    return least_vcpus <= vcpus <= most_vcpus and least_memory <= memory <= most_memory


def _refused(
    name: str, key: str, bounds: Bounds, value: object, default: int
) -> ConfigurationError:
    return ConfigurationError(
        f"label {name!r} lets builds choose {_in_words(key, bounds)}, "
        f"and the property {key!r} is {reprlib.repr(value)}",
        resolution=f"Set it to a whole number from {-(-bounds.least // bounds.unit)} to "
        f"{bounds.most // bounds.unit}, or leave it out for the label's {default // bounds.unit}.",
    )


def _in_words(key: str, bounds: Bounds) -> str:
    if key == VCPUS:
        return f"{bounds.least} to {bounds.most} vCPUs"
    return f"{format_size(bounds.least)} to {format_size(bounds.most)} of memory"


def size_text(vcpus: int, memory: int) -> str:
    """Return a size as the metadata of a domain has it."""
    return f"{vcpus}x{memory}"


def parse_size_text(text: str) -> tuple[int, int] | None:
    """Return the size in the metadata of a domain; ``None`` if it has none that can be read."""
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,15})", text)
    return None if found is None else (int(found[1]), int(found[2]))
