# SPDX-License-Identifier: GPL-2.0-only
"""Control of a running master from outside, over a Unix socket that only its user may open.

``messages.py`` is the protocol, ``status.py`` what a pool says of itself, ``server.py`` the
master's end and ``client.py`` the command line's.
"""
