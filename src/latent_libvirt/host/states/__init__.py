# SPDX-License-Identifier: GPL-2.0-only
"""Saved states: what VMs are resumed from."""
