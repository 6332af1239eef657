# SPDX-License-Identifier: GPL-2.0-only
"""The proposal that ``latent-libvirt init`` makes: a first pool.yaml, and advice on libvirt."""
