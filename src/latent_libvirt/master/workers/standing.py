# SPDX-License-Identifier: GPL-2.0-only
"""Standing of a worker with its master: paused, about to stop, or at rest after a failure."""

from __future__ import annotations

import inspect
from types import FrameType

from buildbot.process import build as buildbots_build
from buildbot.worker.latent import AbstractLatentWorker

from latent_libvirt.master.workers import possible


class Standing(AbstractLatentWorker):
    """A latent worker that writes its standing when it changes, and rests for VMs alone."""

    is_suspect = False
    """Whether its last VM could not be started."""
    _written_paused: tuple[bool, str | None] | None = None
    _written_graceful: bool | None = None

    def _update_paused(self) -> None:
        """Write it into the database, unless it is there: Buildbot does so at each attach."""
        paused = (self._paused, self._pause_reason)
        if paused != self._written_paused:
            self._written_paused = paused
            super()._update_paused()

    def _update_graceful(self) -> None:
        """Do so as well."""
        if self._graceful != self._written_graceful:
            self._written_graceful = self._graceful
            super()._update_graceful()

    def putInQuarantine(self) -> None:
        """Rest for ``quarantine_timeout``.

        Buildbot's builds ask for that whenever they end as EXCEPTION. Theirs counts only if a VM
        could not be started: what a job did says nothing about the next VM.
        """
        if self.is_suspect or not _is_asked_by_a_build(inspect.currentframe()):
            super().putInQuarantine()
            self._is_taken()

    def pause(self, reason: str | None) -> None:
        """Build no more until somebody ends the pause; other workers of its label do."""
        super().pause(reason)
        self._is_taken()

    def _is_taken(self) -> None:
        if self.master is not None:
            possible.of(self.master.workers).changed(self.name)


def _is_asked_by_a_build(frame: FrameType | None) -> bool:
    """Return whether Buildbot's own ``Build`` calls the method of *frame*, and not somebody else.

    The call itself is the same, and nothing distinguishes a build that ends from others.
    """
    caller = None if frame is None else frame.f_back
    return caller is not None and caller.f_code.co_filename == buildbots_build.__file__
