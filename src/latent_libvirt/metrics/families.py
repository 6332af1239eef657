# SPDX-License-Identifier: GPL-2.0-only
"""What all metrics of a pool have in common: their prefix, the label ``pool``, their registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily

PREFIX = "latent_libvirt"

_CREATED = "_created"


class Registry(CollectorRegistry):
    """A registry without the times at which counters were made: nobody asks, and they are many.

    prometheus_client can leave them out for a whole process only, which may have other metrics.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        for metric in super().collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith(_CREATED)]
            yield metric


def gauge(
    name: str, documentation: str, rows: Iterable[tuple[Mapping[str, str], float]]
) -> GaugeMetricFamily:
    """Return a gauge with a value for each of *rows*, which all have the same labels."""
    family = GaugeMetricFamily(f"{PREFIX}_{name}", documentation)
    for labels, value in rows:
        family.add_sample(family.name, dict(labels), value)
    return family
