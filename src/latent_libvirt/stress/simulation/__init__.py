# SPDX-License-Identifier: GPL-2.0-only
"""Simulated hypervisors: libvirt's test driver, and guests that are not there.

The simulation is below this package: it is in libvirt's Python binding (``binding.py``), whose
hypervisors are those of libvirt's own ``test:///`` driver. So the real ``VmPool``, ``Host``,
``Machine``, ``Guest`` and ``Channel`` run, with their threads, timeouts, sweeps and lifecycle
events. Domains, volumes and metadata are those of libvirt's test driver.

Simulated are:

- the time that libvirt and QEMU take (``times.py``);
- the guest. It is an object in another process (``guests.py``), which speaks the handshake through
  a Unix socket in the place of the virtio-serial port;
- the worker's shell commands (``commands.py``). The worker itself is buildbot-worker's, with its
  own connection to the master's port. What a guest costs in production is not a cost of this
  machine, so a command says its lines and sleeps, without a process.

Not there are: saved states, consoles (they say nothing), networks, KVM, hosts that several masters
share, and VMs that outlive their master.
"""
