# SPDX-License-Identifier: GPL-2.0-only
"""Descriptions of metrics, with the prefix, the label ``pool`` and the registry of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Metric

PREFIX = "latent_libvirt"

_CREATED = "_created"
_UNITS: Final = {"_timestamp_seconds": "Unix time", "_seconds": "seconds", "_bytes": "bytes"}
_SUFFIXES: Final = {"counter": "_total"}


@dataclass(frozen=True)
class Family:
    """A metric as Prometheus and the reference of metrics describe it.

    :param name: without the prefix, and without the suffix of counters.
    :param meaning: plain text, in which names stand between backticks.
    :param labels: all of them but ``pool``.
    """

    name: str
    type: Literal["gauge", "counter", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Return the name that Prometheus shows."""
        return f"{PREFIX}_{self.name}{_SUFFIXES.get(self.type, '')}"

    @property
    def unit(self) -> str:
        """Return the unit of the values; nothing for numbers of things."""
        return next((unit for end, unit in _UNITS.items() if self.name.endswith(end)), "")


class Registry(CollectorRegistry):
    """A registry without the times at which counters were made: nobody asks, and they are many.

    prometheus_client can leave them out for a whole process only, which may have other metrics.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        for metric in super().collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith(_CREATED)]
            yield metric
