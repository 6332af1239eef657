# SPDX-License-Identifier: GPL-2.0-only
"""Base images as files: what describes them, the recipes that we ship, and how they are built.

Nothing here knows of libvirt: how an image gets into a storage pool is in
``host/volumes/images.py``.
"""
