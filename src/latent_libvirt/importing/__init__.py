# SPDX-License-Identifier: GPL-2.0-only
"""Imports of other makers' images: a cloud image becomes an image of ours in a private libvirtd.

What a source must be, the seed disk and the payload are in ``latent_libvirt.images``.
"""
