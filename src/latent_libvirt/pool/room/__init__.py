# SPDX-License-Identifier: GPL-2.0-only
"""Room for VMs: what may be taken, what is taken, and which host and slot are next."""
