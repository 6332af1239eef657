# SPDX-License-Identifier: GPL-2.0-only
"""The guest in a VM, as its master sees it: console and handshake channel."""
