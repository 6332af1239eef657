# SPDX-License-Identifier: GPL-2.0-only
"""Deployments that the stress harness starts: masters, database, router and simulated guests.

All of it listens on loopback, has its files in one directory, and ends with the harness.
"""
