# SPDX-License-Identifier: GPL-2.0-only
"""Back-off of hosts on which starts fail: pure rules, no I/O.

A host where VMs do not start has the most free slots of all, and would be given every job. After
:data:`IN_A_ROW` failures without a success it gets nothing for a while, and its share goes to the
others; then it is tried again. Each further failure doubles the time.

A VM that does not come up may be the fault of its label: the image is broken. As long as a label
fails on other hosts too, its failures count against none of them. As long as other labels come up
on the host, only the label that fails gets nothing there. What is wrong with an image, a label or a
network (``ConfigurationError``) counts against nobody. A host's connection and storage have a
separate back-off (``host/``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.logger import Logger

from latent_libvirt.backoff import Backoff
from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GuestError,
)

if TYPE_CHECKING:
    from latent_libvirt.errors import (
        LatentLibvirtError,
    )

log = Logger()

IN_A_ROW = 3
"""How many starts have to fail, without one that succeeds in between."""

BACKOFF = Backoff(first=30.0, longest=900.0)
"""For how long a host is in back-off."""


@dataclass
class _Record:
    failures: int = 0
    until: float = 0.0
    reason: str = ""


class HostBackoff:
    """Counts starts that fail and succeed.

    :param clock: seconds.
    :param changed: called when the back-off of a host begins.
    """

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._hosts: dict[str, _Record] = defaultdict(_Record)
        self._pairs: dict[tuple[str, str], _Record] = defaultdict(_Record)
        self._come_up: dict[str, set[str]] = defaultdict(set)
        self._failing: dict[str, set[str]] = defaultdict(set)

    def note_success(self, host: str, label: str) -> None:
        """Note that a VM of *label* has come up on *host*."""
        self._hosts.pop(host, None)
        self._pairs.pop((host, label), None)
        self._come_up[host].add(label)
        self._failing.pop(label, None)

    def note_failure(self, host: str, label: str, error: LatentLibvirtError) -> None:
        """Note that a VM of *label* has not come up on *host*."""
        if isinstance(error, CapacityError | ConfigurationError):
            return
        if self._is_the_labels(host, label, error):
            return
        self._come_up[host].discard(label)
        if self._come_up[host]:
            self._count(f"host {host}, for label {label},", self._pairs[host, label], error)
        else:
            self._count(f"host {host}", self._hosts[host], error)

    def _count(self, what: str, record: _Record, error: LatentLibvirtError) -> None:
        record.failures += 1
        record.reason = error.brief
        if record.failures >= IN_A_ROW:
            self._begin(what, record)

    def _is_the_labels(self, host: str, label: str, error: LatentLibvirtError) -> bool:
        """Whether it is the label that fails: it does on other hosts, too."""
        if isinstance(error, GuestError):
            self._failing[label].add(host)
        return isinstance(error, GuestError) and len(self._failing[label]) > 1

    def _begin(self, what: str, record: _Record) -> None:
        time = BACKOFF.after(record.failures - IN_A_ROW + 1)
        record.until = self._clock() + time
        log.error(
            "{what} is in back-off for {seconds:g} s: {failures} starts in a row failed: {reason}",
            what=what,
            seconds=time,  # "time" would be taken for the time of the message
            failures=record.failures,
            reason=record.reason,
        )
        self._changed()

    def forgive(self, host: str) -> None:
        """Forget the failures of *host*: somebody has mended it."""
        self._hosts.pop(host, None)
        for pair in [pair for pair in self._pairs if pair[0] == host]:
            del self._pairs[pair]

    def hosts(self) -> dict[str, str]:
        """Return why each host that is in back-off at this moment is, in a sentence."""
        return {
            host: self._why(record)
            for host, record in self._hosts.items()
            if record.until > self._clock()
        }

    def labels(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why that label alone gets nothing there at this moment."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for (host, label), record in self._pairs.items():
            if record.until > self._clock():
                found[label][host] = self._why(record)
        return found

    def _why(self, record: _Record) -> str:
        return (
            f"in back-off for {record.until - self._clock():.0f} s more, since {record.failures} "
            f"starts in a row failed: {record.reason}"
        )
