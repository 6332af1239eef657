# SPDX-License-Identifier: GPL-2.0-only
"""Faults of Buildbot that pools and the job API mend alike, and what pages in its UI share."""
