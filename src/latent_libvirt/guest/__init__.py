# SPDX-License-Identifier: GPL-2.0-only
"""The launcher, which runs inside a VM, and the messages that a pool exchanges with it.

``launcher.py`` is copied into images as one file, and imports nothing else of this package.
"""
