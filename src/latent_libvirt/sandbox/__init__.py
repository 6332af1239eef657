# SPDX-License-Identifier: GPL-2.0-only
"""A private libvirtd: for the demo and for tests that need a real host.

Nothing in the worker or the pool imports this package, and nothing here touches the libvirt that
the machine itself may run.
"""

from __future__ import annotations

from latent_libvirt.sandbox.private import PrivateLibvirtd

__all__ = ["PrivateLibvirtd"]
