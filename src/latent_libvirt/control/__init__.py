# SPDX-License-Identifier: GPL-2.0-only
"""Control of a running master from outside, over a Unix socket that only its user may open.

``messages.py`` is the protocol, ``server.py`` the master's end and ``client.py`` the command
line's. The values of an answer are in ``latent_libvirt.status``.
"""
