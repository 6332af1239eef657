# SPDX-License-Identifier: GPL-2.0-only
"""Usage of builds: stored with each build in Buildbot's database, and summed from there."""
