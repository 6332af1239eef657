# SPDX-License-Identifier: GPL-2.0-only
"""Meters: what VMs use, and how much of a host's memory they have."""
