# SPDX-License-Identifier: GPL-2.0-only
"""Commands about VMs that are kept after their jobs."""
