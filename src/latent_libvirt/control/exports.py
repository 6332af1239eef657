# SPDX-License-Identifier: GPL-2.0-only
"""Exports of frozen VMs, from the request to the outcome."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from latent_libvirt.control.messages import ControlError
from latent_libvirt.status.answers import Exportable

if TYPE_CHECKING:
    from latent_libvirt.control.known_vms import KnownVms
    from latent_libvirt.pool.vm_pool import VmPool

log = Logger()

_MOST_EXPORTS: Final = 100
"""Exports of which nobody has said yet what came of them."""

Audit = Callable[[dict[str, Any], str], None]
"""Notes what somebody has asked for, and the outcome."""


class Exports:
    """Exports of VMs of *pool*.

    :param known: all its VMs.
    """

    def __init__(self, pool: VmPool, known: KnownVms, audit: Audit) -> None:
        self._pool = pool
        self._known = known
        self._audit = audit
        self._exports: dict[str, tuple[dict[str, str], str]] = {}

    def begin(self, name: str, user: str) -> Exportable:
        """Return what *user* needs to pack a frozen VM; the audit log has it.

        :raises ControlError: if there is no such VM, or its label does not allow it.
        """
        frozen = self._known.find_frozen(name)
        vm, host = frozen.frozen.vm, frozen.frozen.host
        label = self._pool.config.labels.get(vm.record.label)
        facts = {"user": user, "command": "export", "name": vm.vm_id}
        number = secrets.token_hex(8)
        if label is None or not label.export:
            self._audit(facts, "refused")
            raise ControlError(
                f"VMs of label {vm.record.label!r} may not be exported",
                resolution=f"Set labels.{vm.record.label}.export to true in the pool's YAML file.",
            )
        self._audit(facts, "allowed")
        names = str(frozen.names)
        log.info("VM {vm} is exported for {user}", vm=names, user=user)
        self._exports[number] = (facts, names)
        if len(self._exports) > _MOST_EXPORTS:
            del self._exports[next(iter(self._exports))]
        return Exportable(names, host.config.uri, host.storage_pool, vm.name.state, number)

    def end(self, number: str, *, is_done: bool) -> str:
        """Let the audit log have what came of an export; return of which VM it was.

        :param number: by which the export is known.
        :raises ControlError: if it is not known, as after a restart of the master.
        """
        export = self._exports.pop(number, None)
        if export is None:
            raise ControlError("the master does not know of the export any more")
        facts, names = export
        self._audit(facts, "done" if is_done else "failed")
        return names
