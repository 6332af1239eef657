# SPDX-License-Identifier: GPL-2.0-only
"""The log of what a build has fetched through its master, and the statement about it.

The log is called ``network``, and belongs to the step ``worker_preparation``, which each build has.
It is written as things happen, and there is none for a build that asks for nothing. When the build
has ended, its data ``provenance`` has the statement in JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.host.proxy.statement import About, statement

if TYPE_CHECKING:
    from latent_libvirt.host.proxy.record import Record
    from latent_libvirt.pool.lease import Lease

log = Logger()

LOG: Final = "network"
"""The name of the log."""

DATA: Final = "provenance"
"""The name of the build's data that has the statement."""


class NetworkLog:
    """What one build fetches, shown on its page.

    :param build: of Buildbot.
    :param record: of its VM.
    """

    def __init__(self, build: Any, lease: Lease, record: Record) -> None:
        self._build = build
        self._lease = lease
        self._record = record
        self._log: Any = None
        self._waiting: list[str] = []
        self._text: list[str] = []
        self._writing = DeferredLock()
        record.begin(self._heard)

    def end(self) -> None:
        """Write what is left, and the statement, in the background."""
        self._record.end()
        fetches, left_out = list(self._record.fetches), self._record.left_out
        if fetches:
            self._soon(lambda: self._finish(fetches, left_out))

    def _heard(self, line: str) -> None:
        self._waiting.append(line)
        if len(self._waiting) == 1:
            self._soon(self._write)

    def _soon(self, do: Any) -> None:
        done = self._writing.run(lambda: Deferred.fromCoroutine(do()))
        in_background(done, f"network log of {self._build}")

    async def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        if self._log is None:
            step = self._build._preparation_step  # noqa: SLF001 - Buildbot's
            self._log = await step.addLog(LOG, "t")
        text = "".join(f"{line}\n" for line in lines)
        self._text.append(text)
        await self._log.addContent(text)

    async def _finish(self, fetches: list[Any], left_out: int) -> None:
        await self._write()
        if self._log is not None:
            await self._log.finish()
        lease, build = self._lease, self._build
        about = About(
            builder=build.builder.name,
            number=build.number,
            url=await build.getUrl(),
            label=lease.label_name,
            image=lease.vm.machine.image_digest,
            way=lease.report().way,
        )
        found = statement(about, fetches, left_out=left_out, log="".join(self._text))
        value = json.dumps(found, indent=2).encode()
        updates = build.master.data.updates
        await updates.setBuildData(build.buildid, DATA, value, "latent_libvirt")
