# SPDX-License-Identifier: GPL-2.0-only
"""One hypervisor host, through libvirt: the only package that speaks libvirt.

``host.py`` is what the pool sees; below it are the connection, storage, domain XML, the guest's
channel and console, and the names that tell who owns what. Nothing here knows of Buildbot.
"""
