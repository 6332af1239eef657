# SPDX-License-Identifier: GPL-2.0-only
"""Measurements beside a run: each is a series of lines of JSON in the report's raw data.

What only a master can measure is in ``in_master``: its event-loop delay, and its leases.
"""
