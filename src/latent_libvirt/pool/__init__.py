# SPDX-License-Identifier: GPL-2.0-only
"""The VMs that exist, and the builds they are for. No Buildbot, no libvirt."""
