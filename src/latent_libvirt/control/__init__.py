# SPDX-License-Identifier: GPL-2.0-only
"""How a running master is asked and told things from outside: over a Unix socket of its own user.

``messages.py`` is the protocol, ``status.py`` what a pool says of itself, ``server.py`` the
master's end and ``client.py`` the command line's.
"""
