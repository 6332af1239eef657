# SPDX-License-Identifier: GPL-2.0-only
"""Search for the VM that an operator names, by any of its names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from latent_libvirt.control.messages import ControlError

if TYPE_CHECKING:
    from latent_libvirt.status import VmNames


class Named(Protocol):
    """A thing with names."""

    @property
    def names(self) -> VmNames:
        """Its names."""


T = TypeVar("T", bound=Named)


def find(vms: Iterable[T], name: str) -> T:
    """Return the VM called *name*.

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
    raise ControlError(
        f"there is no VM called {name!r}",
        details=f"There are:\n{_listed(vms)}" if vms else "There is no VM at all.",
        resolution="Name one by its worker, its job (BUILDER/NUMBER), DOMAIN@HOST or its id."
        if vms
        else None,
    )


def _listed(vms: Iterable[Named]) -> str:
    return "\n".join(sorted(f"  {vm.names}" for vm in vms))
