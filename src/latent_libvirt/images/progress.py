# SPDX-License-Identifier: GPL-2.0-only
"""Progress of an image's build: the interface that reports it. The caller shows it."""

from __future__ import annotations


class Reporter:
    """Hears what a build is doing. This one keeps it to itself."""

    def stage(self, text: str) -> None:
        """Note that a new part of the build begins."""

    def detail(self, text: str) -> None:
        """Record where the part is: a line that a program has printed."""

    def note(self, text: str) -> None:
        """Record something that people should read."""
