# SPDX-License-Identifier: GPL-2.0-only
"""Metrics of a pool, for Prometheus.

``collector.py`` reads the gauges from the pool's status at each scrape. ``instruments.py`` counts
events as they happen. ``server.py`` answers Prometheus. docs/reference/metrics.md lists all
metrics; it is made of their descriptions here.
"""
