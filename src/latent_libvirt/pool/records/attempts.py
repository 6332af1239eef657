# SPDX-License-Identifier: GPL-2.0-only
"""VMs that failed under a build request, counted: the end of endless retries (buildbot #5354)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from latent_libvirt.errors import GivenUpError

_REMEMBERED = 10_000


class Attempts:
    """Counts the VMs that failed under each build request, and remembers why."""

    def __init__(self) -> None:
        self._failures: OrderedDict[int, list[str]] = OrderedDict()

    def note_failure(self, requests: Iterable[int], reason: str) -> None:
        """Count a VM that failed under the build requests with these ids."""
        for request in requests:
            self._failures.setdefault(request, []).append(reason)
            self._failures.move_to_end(request)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def amend(self, requests: Iterable[int], reason: str) -> None:
        """Put a better *reason* in place of the one that was noted last."""
        for request in requests:
            if request in self._failures:
                self._failures[request][-1] = reason

    def check(self, requests: Iterable[int], *, allowed: int) -> None:
        """Refuse another VM to build requests that have lost as many as are *allowed*.

        :raises GivenUpError: with the reasons of all the failures.
        """
        reasons = max(
            (self._failures.get(request, []) for request in requests), key=len, default=[]
        )
        if len(reasons) >= allowed:
            count = f"{len(reasons)} VM{'s' if len(reasons) > 1 else ''}"
            listed = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
            raise GivenUpError(
                f"giving up: this job has lost {count}",
                details=listed,
                resolution="Once the cause is mended, rebuild. How often a job may lose its VM is "
                "the label's launch_attempts.",
            )
