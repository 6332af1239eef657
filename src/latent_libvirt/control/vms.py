# SPDX-License-Identifier: GPL-2.0-only
"""Which VM an operator means: by the names that it has.

Works on whatever has such names; what is done with a VM that was found is none of its business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from latent_libvirt.control.messages import ControlError
from latent_libvirt.lease import Job


@dataclass(frozen=True)
class VmNames:
    """By what names a VM goes.

    :param worker: whose VM it is; empty if it waits for one.
    :param job: what it is for; ``None`` if nothing, or if that is not known yet.
    """

    domain: str
    host: str
    lease: str
    worker: str = ""
    job: Job | None = None

    def __str__(self) -> str:
        words = [f"worker {self.worker}"] if self.worker else []
        words += [f"job {self._job}"] if self.job else []
        return f"{self._place} ({', '.join([*words, f'lease {self.lease}'])})"

    @property
    def all(self) -> frozenset[str]:
        """Every name that an operator may use."""
        names = {self.worker, self.lease, self._place, self.domain, self._job}
        return frozenset(names - {""})

    @property
    def _place(self) -> str:
        return f"{self.domain}@{self.host}"

    @property
    def _job(self) -> str:
        return "" if self.job is None else f"{self.job.builder}/{self.job.number}"


class Named(Protocol):
    """What has names."""

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
            resolution="Say which: DOMAIN@HOST, its worker or its lease.",
        )
    raise ControlError(
        f"there is no VM called {name!r}",
        details=f"There are:\n{_listed(vms)}" if vms else "There is no VM at all.",
        resolution="Name one by its worker, its job (BUILDER/NUMBER), DOMAIN@HOST or its lease."
        if vms
        else None,
    )


def _listed(vms: Iterable[Named]) -> str:
    return "\n".join(sorted(f"  {vm.names}" for vm in vms))
