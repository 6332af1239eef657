# SPDX-License-Identifier: GPL-2.0-only
"""Upkeep of a pool: what is looked at from time to time, whatever jobs come."""
