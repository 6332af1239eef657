# SPDX-License-Identifier: GPL-2.0-only
"""Launcher: it turns a VM that waits into a Buildbot worker.

It runs as root inside the guest, started by the init system. It imports the worker, which is most
of the work, says ``waiting`` on the virtio-serial port ``org.latent_libvirt.0``, and blocks. The
pool answers with an identity; the launcher seeds the kernel's random pool, sets the clock and the
host name, waits until the master can be reached, says ``starting``, drops its privileges, and is
the worker from then on. Before that, the pool may ask it to get ready for being saved: then many
VMs go on from this one, and the identity takes from each what it would share with the others; and
to rehearse, so that it is quicker afterwards. A worker that its master has released leaves the VM
as it is: somebody may want to look into it, and the pool ends it when nobody does. In all other
cases the process ends, and the VM is to end with it.

Images carry this directory without anything else of the package
(``docs/reference/image-contract.md``), and Python runs it (``__main__.py``). So its modules import
each other by relative names. They need the standard library of Python 3.8 to 3.13 and
buildbot-worker. ``life.py`` is where it begins. What the host does is in
``latent_libvirt.host.guests.guest``.
"""
