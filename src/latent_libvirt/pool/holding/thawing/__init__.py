# SPDX-License-Identifier: GPL-2.0-only
"""Thaws of frozen VMs, each in its slot: asked for, waiting for the slot, and under way."""
