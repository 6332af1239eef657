# SPDX-License-Identifier: GPL-2.0-only
"""The choice of the next build, in place of Buildbot's own."""
