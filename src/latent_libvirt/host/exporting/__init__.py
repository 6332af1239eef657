# SPDX-License-Identifier: GPL-2.0-only
"""Exports of frozen VMs: a file that another libvirt can continue the VM from."""
