# SPDX-License-Identifier: GPL-2.0-only
"""What Prometheus learns of a pool.

What is true at one moment is read from the pool's status when Prometheus asks (``collector.py``),
so that it can never drift from it; what has happened is counted as it happens
(``instruments.py``).
``server.py`` is where Prometheus asks. docs/reference/metrics.md explains each metric.
"""
