# SPDX-License-Identifier: GPL-2.0-only
"""Moves of frozen VMs: one host has frozen a VM, and another one thaws it."""
