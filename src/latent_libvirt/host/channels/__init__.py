# SPDX-License-Identifier: GPL-2.0-only
"""Connections of workers through virtio-serial channels, as their master sees them."""
