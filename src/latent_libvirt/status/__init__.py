# SPDX-License-Identifier: GPL-2.0-only
"""Plain values that tell what a pool has and does at one moment.

The control socket carries them, the command line and the metrics show them. A leaf: it imports
nothing else of this package.
"""
