# SPDX-License-Identifier: GPL-2.0-only
"""Thaw of a frozen VM, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.holding.frozen import Frozen


@dataclass(frozen=True)
class Thaw:
    """A thaw that is asked for.

    :param host: where the VM goes on.
    :param seconds: for how long it is to be held then, or with ``None`` until its deadline.
    """

    frozen: Frozen
    host: Host
    seconds: float | None

    @property
    def is_move(self) -> bool:
        """Whether the VM goes on on another host."""
        return self.host is not self.frozen.host

    def __str__(self) -> str:
        return f"{self.frozen}, on host {self.host.name}" if self.is_move else str(self.frozen)
