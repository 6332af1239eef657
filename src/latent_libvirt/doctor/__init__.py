# SPDX-License-Identifier: GPL-2.0-only
"""Finds out what is wrong with the hosts of a pool, before a build does.

Each module but the first few is one check; ``host_checks.py`` has their order. How findings are
shown is in ``cli/doctor.py``. Needs no Buildbot master, and nothing imports it but
that command.
"""
