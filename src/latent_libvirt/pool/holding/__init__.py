# SPDX-License-Identifier: GPL-2.0-only
"""VMs that are kept after their jobs: held in their slots, or frozen."""
