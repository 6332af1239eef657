# SPDX-License-Identifier: GPL-2.0-only
"""The page "VMs" in Buildbot's web UI: the pools of all masters that share a database."""
