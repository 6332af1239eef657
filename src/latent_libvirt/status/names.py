# SPDX-License-Identifier: GPL-2.0-only
"""Names of builds and VMs, and of what can be drained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BuildRef:
    """The build that a VM is for.

    :param number: of that builder's.
    """

    builder: str
    number: int
    url: str


@dataclass(frozen=True, order=True)
class Target:
    """A host or a label that can be drained: what runs finishes, nothing new starts."""

    kind: Literal["host", "label"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class VmNames:
    """By what names a VM goes.

    :param worker: whose VM it is, empty if it waits for one.
    :param job: what it is for, or ``None`` if nothing, or if that is not known yet.
    """

    domain: str
    host: str
    vm_id: str
    worker: str = ""
    job: BuildRef | None = None

    def __str__(self) -> str:
        words = [f"worker {self.worker}"] if self.worker else []
        words += [f"job {self._job}"] if self.job else []
        return f"{self._place} ({', '.join([*words, f'id {self.vm_id}'])})"

    @property
    def all(self) -> frozenset[str]:
        """Every name that an operator may use."""
        return frozenset({self.domain, *self.by_kind.values()} - {""})

    @property
    def by_kind(self) -> dict[str, str]:
        """A name of each kind, empty if it has none. An id is no other VM's."""
        place = self._place
        return {"job": self._job, "worker": self.worker, "DOMAIN@HOST": place, "id": self.vm_id}

    @property
    def _place(self) -> str:
        return f"{self.domain}@{self.host}"

    @property
    def _job(self) -> str:
        return "" if self.job is None else f"{self.job.builder}/{self.job.number}"
