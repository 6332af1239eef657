# SPDX-License-Identifier: GPL-2.0-only
"""Volumes of a storage pool: base images and overlays."""
