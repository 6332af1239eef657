# SPDX-License-Identifier: GPL-2.0-only
"""Search for the VM that an operator names, by any of its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from latent_libvirt.control.messages import ControlError

if TYPE_CHECKING:
    from latent_libvirt.status.names import VmNames


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
    :param details: more about its state, in a sentence; empty for nothing.
    """

    names: VmNames
    state: str
    remedy: str
    details: str = ""


T = TypeVar("T", bound=Named)

_KINDS: Final = ("job", "worker", "DOMAIN@HOST", "id")
"""Kinds of names, the one first that people know best."""


def find(vms: Iterable[T], name: str, others: Iterable[Other] = ()) -> T:
    """Return the VM called *name*.

    :param others: all other VMs. The command is for none of them, but *name* may stand for one.
    :raises ControlError: if there is none, or several, or the command is not for it. If there is
        none, or several, the error lists those there are.
    """
    there = _each_once(vms, others)
    found = [vm for vm in there if name in vm.names.all]
    if len(found) > 1:
        raise ControlError(
            f"there are several VMs called {name!r}",
            details=_listed(found),
            resolution=_what_tells_apart(found, there),
        )
    if not found:
        raise _no_match(name, there)
    (vm,) = found
    if isinstance(vm, Other):
        raise ControlError(
            f"VM {vm.names} {vm.state}", details=vm.details or None, resolution=vm.remedy
        )
    return vm


def _each_once(vms: Iterable[T], others: Iterable[Other]) -> list[T | Other]:
    """Return all, without those that are there twice, as one that is just being thawed."""
    by_id: dict[str, T | Other] = {}
    for vm in vms:
        by_id.setdefault(vm.names.vm_id, vm)
    for other in others:
        by_id.setdefault(other.names.vm_id, other)
    return list(by_id.values())


def _no_match(name: str, there: Iterable[Named]) -> ControlError:
    listed = _listed(there)
    return ControlError(
        f"there is no VM called {name!r}",
        details=f"There are:\n{listed}" if listed else "There is no VM at all.",
        resolution="Name one by its worker, its job (BUILDER/NUMBER), DOMAIN@HOST or its id."
        if listed
        else None,
    )


def _what_tells_apart(found: Iterable[Named], there: Iterable[Named]) -> str:
    """Return the first kind of name that each of *found* has alone of all *there*, with its values.

    Ids are such names.
    """
    uses = Counter(name for vm in there for name in vm.names.all)
    values = {kind: [vm.names.by_kind[kind] for vm in found] for kind in _KINDS}
    kind = next(kind for kind in _KINDS if all(uses[name] == 1 for name in values[kind]))
    *first, last = sorted(values[kind])
    return f"Say which by its {kind}: {', '.join(first)} or {last}."


def _listed(vms: Iterable[Named]) -> str:
    states = ((vm.names, f" {vm.state}" if isinstance(vm, Other) else "") for vm in vms)
    return "\n".join(sorted(f"  {names}{state}" for names, state in states))
