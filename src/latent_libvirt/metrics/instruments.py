# SPDX-License-Identifier: GPL-2.0-only
"""Counters and histograms: events since the master started.

Each method is an event. ``collector.py`` has the gauges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import Counter, Histogram

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    GuestError,
    HostError,
)
from latent_libvirt.host.names import Kind
from latent_libvirt.metrics.families import PREFIX, Family, Registry

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.errors import (
        LatentLibvirtError,
    )
    from latent_libvirt.host.events import Operation, Outcome
    from latent_libvirt.pool.lease import LeaseReport
    from latent_libvirt.pool.room.allocations import Allocation

NO_HOST: Final = ""
"""The host of what failed before there was one."""

_REASONS: Final = {
    GivenUpError: "given_up",
    ConfigurationError: "configuration",
    CapacityError: "capacity",
    HostError: "host",
    GuestError: "guest",
}
_UNEXPECTED: Final = "unexpected"
_OF_A_LEASE: Final[tuple[str, ...]] = ("assign", "attach")

# Upper bounds of buckets, in seconds. A start takes less than one from a spare, minutes under
# emulation; a call milliseconds, or its deadline.
_PHASE: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
_BUILD: Final = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800)
_CALL: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60)


class Instruments:
    """Counters and histograms of one pool, in a separate registry.

    :ivar families: their descriptions, in the order of the reference.
    """

    def __init__(self, pool: str) -> None:
        self.registry = Registry()
        self.families: list[Family] = []
        self._pool = pool
        self._vms_started = self._counter(
            "vms_started", "VMs whose start has begun, including spares.", "label", "host"
        )
        self._vms_ended = self._counter(
            "vms_ended",
            "VMs that have ended and are deleted, including those that failed.",
            *("label", "host"),
        )
        self._trials = self._counter(
            "image_trials",
            "New versions of images with `canary` whose trial has ended. The outcome is `accepted` "
            "or `withdrawn`.",
            *("image", "outcome"),
        )
        self._startup = self._histogram(
            "vm_startup_duration_seconds",
            "Time from a job's first VM until its worker has attached. The way is `cold` (the VM "
            "was booted for the job), `resume` (it was resumed for the job) or `spare` (it was "
            "there).",
            *("label", "way"),
            buckets=_PHASE,
        )
        self._phase = self._histogram(
            "vm_phase_duration_seconds",
            "Duration of each phase of the starts that succeeded, including those of spares, and "
            "of the tear-down of all VMs.",
            *("host", "phase"),
            buckets=_PHASE,
        )
        self._build = self._histogram(
            "build_duration_seconds",
            "Time from a worker's attach until its build no longer needs the VM. Builds that "
            "share a VM count with their mean.",
            "label",
            buckets=_BUILD,
        )
        self._spare_hits = self._counter(
            "spare_hits", "Builds that got a spare that was ready.", "label"
        )
        self._spare_misses = self._counter(
            "spare_misses", "Builds of a label with spares, of which none was ready.", "label"
        )
        self._failures = self._counter(
            "failures",
            "VMs that failed or could not be started, by who has to act. `configuration` is for "
            "the author of `pool.yaml` and the publisher of images. `host` and `guest` are for "
            "the administrator of the host and the maker of the image. `capacity` is for nobody. "
            "`given_up` means that a job has lost as many VMs as it may. `unexpected` is a defect "
            "of this package. The host is empty if none had been chosen.",
            *("host", "reason"),
        )
        self._leaks = self._counter(
            "leaks",
            "Leftovers that belonged to no live VM and that a sweep has deleted. The kind is "
            "`domain`, `overlay` or `saved` (a saved state, complete or not).",
            *("host", "kind"),
        )
        self._saved = self._counter(
            "vms_saved", "VMs that were saved, for others to be resumed from.", "host"
        )
        self._rejected = self._counter(
            "saved_states_rejected",
            "Saved states that were deleted, since no VM came up from them. VMs in their slots "
            "boot.",
            "host",
        )
        self._losses = self._counter(
            "host_connection_losses",
            "Lost connections to the host's libvirt. The master connects again after each.",
            "host",
        )
        self._calls = self._histogram(
            "libvirt_call_duration_seconds",
            "Duration of calls of libvirt, including the wait for one of the host's eight threads. "
            "The outcome is `ok`, `error` (libvirt refused, or something that the call needs is "
            "not there) or `timeout`.",
            *("host", "operation", "outcome"),
            buckets=_CALL,
        )

    def configured(self, config: PoolConfig) -> None:
        """Begin to count at 0, so that the first of anything shows as an increase."""
        for host in (NO_HOST, *config.hosts):
            for reason in (*_REASONS.values(), _UNEXPECTED):
                self._failures.labels(self._pool, host, reason)
        for host in config.hosts:
            for counter in (self._losses, self._saved, self._rejected):
                counter.labels(self._pool, host)
            for kind in get_args(Kind):
                self._leaks.labels(self._pool, host, kind)

    # Events of VMs (see pool.events.VmEvents).

    def vm_started(self, place: Allocation) -> None:
        """Note that a VM begins to start."""
        self._vms_started.labels(self._pool, place.label, place.host).inc()

    def vm_is_up(self, place: Allocation, phases: Mapping[str, float]) -> None:
        """Note that a VM waits for an identity."""
        self._observe(place.host, phases)

    def vm_failed(self, place: Allocation, error: LatentLibvirtError) -> None:
        """Note that a VM did not come up as it should."""
        self.failed(error, host=place.host)

    def vm_ended(self, place: Allocation, phases: Mapping[str, float]) -> None:
        """Note that nothing is left of a VM."""
        self._vms_ended.labels(self._pool, place.label, place.host).inc()
        self._observe(place.host, phases)

    def _observe(self, host: str, phases: Mapping[str, float]) -> None:
        for phase, seconds in phases.items():
            self._phase.labels(self._pool, host, phase).observe(seconds)

    # Events of jobs.

    def lease_began(self, report: LeaseReport, *, seconds: float) -> None:
        """Note that the worker of a job has attached.

        :param seconds: since the job was given its first VM.
        """
        self._startup.labels(self._pool, report.label, report.way).observe(seconds)
        after = {name: report.phases[name] for name in _OF_A_LEASE if name in report.phases}
        self._observe(report.host, after)

    def lease_ended(self, report: LeaseReport) -> None:
        """Note that a worker has no VM any more."""
        build = self._build.labels(self._pool, report.label)
        for _ in range(report.builds if "build" in report.phases else 0):
            build.observe(report.phases["build"] / report.builds)

    def failed(self, error: Exception, *, host: str = NO_HOST) -> None:
        """Note that a VM has failed, or could not be started.

        :param host: where; nothing if that had not been decided yet.
        """
        self._failures.labels(self._pool, host, reason(error)).inc()

    def trial_ended(self, *, image: str, accepted: bool) -> None:
        """Note that the new version of an image is used by all VMs from now on, or by none."""
        self._trials.labels(self._pool, image, "accepted" if accepted else "withdrawn").inc()

    def spare_asked_for(self, *, label: str, was_ready: bool) -> None:
        """Note that a build of a label with spares wants one."""
        wanted = self._spare_hits if was_ready else self._spare_misses
        wanted.labels(self._pool, label).inc()

    # Events of hosts (see host.events.HostEvents).

    def call_ended(self, host: str, operation: Operation, outcome: Outcome, seconds: float) -> None:
        """Record a call of libvirt."""
        self._calls.labels(self._pool, host, operation, outcome).observe(seconds)

    def connection_lost(self, host: str) -> None:
        """Record a lost connection."""
        self._losses.labels(self._pool, host).inc()

    def leaks_freed(self, host: str, kind: Kind, count: int) -> None:
        """Record what a sweep has freed."""
        self._leaks.labels(self._pool, host, kind).inc(count)

    def vm_saved(self, host: str) -> None:
        """Note that a VM was saved, to be resumed from then on."""
        self._saved.labels(self._pool, host).inc()

    def state_rejected(self, host: str) -> None:
        """Note that a saved state was thrown away."""
        self._rejected.labels(self._pool, host).inc()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        self.families.append(Family(name, "counter", meaning, labels))
        names = ("pool", *labels)
        return Counter(f"{PREFIX}_{name}", meaning, names, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, *labels: str, buckets: tuple[float, ...]
    ) -> Histogram:
        self.families.append(Family(name, "histogram", meaning, labels))
        names = ("pool", *labels)
        return Histogram(
            f"{PREFIX}_{name}", meaning, names, registry=self.registry, buckets=buckets
        )


def reason(error: Exception) -> str:
    """Return whose fault *error* is, in a word: of the first class in the list that it is one of.

    What this package did not raise on purpose is a defect here.
    """
    return next((word for kind, word in _REASONS.items() if isinstance(error, kind)), _UNEXPECTED)
