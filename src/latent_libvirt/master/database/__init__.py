# SPDX-License-Identifier: GPL-2.0-only
"""Buildbot's database, asked less: the same rows of builds with fewer statements."""
