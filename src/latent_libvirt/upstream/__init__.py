# SPDX-License-Identifier: GPL-2.0-only
"""Faults of Buildbot that pools and the job API mend alike, until that is done upstream."""
