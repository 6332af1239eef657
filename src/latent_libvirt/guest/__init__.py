# SPDX-License-Identifier: GPL-2.0-only
"""Guest's side of a VM: the launcher, and the messages that a pool exchanges with it.

The directory ``launcher`` is copied into images as it is, and imports nothing else of this package.
"""
