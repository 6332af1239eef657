# SPDX-License-Identifier: GPL-2.0-only
"""Doctor: checks of a pool's hosts that find what is wrong before a build does.

Each module but the first few is one check. ``host_checks.py`` has their order, and
``cli/views/doctor_view.py`` shows the findings. The doctor needs no Buildbot master, and only its
command imports it.
"""
