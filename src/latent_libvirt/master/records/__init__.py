# SPDX-License-Identifier: GPL-2.0-only
"""Records of a build, kept with it: what its guest fetched and showed, and its terminals."""
