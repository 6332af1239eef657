# SPDX-License-Identifier: GPL-2.0-only
"""Search for the VM that an operator names, by any of its names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from latent_libvirt.control.messages import ControlError

if TYPE_CHECKING:
    from latent_libvirt.status import VmNames


class Named(Protocol):
    """A thing with names."""

    @property
    def names(self) -> VmNames:
        """Its names."""


@dataclass(frozen=True)
class Other:
    """A VM that a command is not for.

    :param state: what it does, as ``is held``.
    :param remedy: which commands are for it, in a sentence or two.
    """

    names: VmNames
    state: str
    remedy: str


T = TypeVar("T", bound=Named)


def find(vms: Iterable[T], name: str, others: Iterable[Other] = ()) -> T:
    """Return the VM called *name*.

    :param others: VMs that are none of *vms*.
    :raises ControlError: if there is none, or several; it lists those there are.
    """
    vms = tuple(vms)
    found = [vm for vm in vms if name in vm.names.all]
    if len(found) == 1:
        return found[0]
    if found:
        raise ControlError(
            f"there are several VMs called {name!r}",
            details=_listed(found),
            resolution="Say which: DOMAIN@HOST, its worker or its id.",
        )
    no_match = [other for other in others if name in other.names.all]
    if len(no_match) == 1:
        other = no_match[0]
        raise ControlError(f"VM {other.names} {other.state}", resolution=other.remedy)
    raise ControlError(
        f"there is no VM called {name!r}",
        details=f"There are:\n{_listed(vms)}" if vms else "There is no VM at all.",
        resolution="Name one by its worker, its job (BUILDER/NUMBER), DOMAIN@HOST or its id."
        if vms
        else None,
    )


def _listed(vms: Iterable[Named]) -> str:
    return "\n".join(sorted(f"  {vm.names}" for vm in vms))
