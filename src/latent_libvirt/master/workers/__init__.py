# SPDX-License-Identifier: GPL-2.0-only
"""The workers of a master: what Buildbot asks of each, and the VM that each has."""
