# SPDX-License-Identifier: GPL-2.0-only
"""The connection to a host's libvirtd: kept alive, with a deadline for each call."""
