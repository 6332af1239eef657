# SPDX-License-Identifier: GPL-2.0-only
"""Records of what has happened in a pool: VMs that failed, and what was in each slot."""
