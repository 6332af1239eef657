# SPDX-License-Identifier: GPL-2.0-only
"""The side of the pool that Buildbot sees: service, workers, choosers and ``master.cfg``."""
