# SPDX-License-Identifier: GPL-2.0-only
"""Files of the pages in Buildbot's web UI: scripts and styles that several pages share."""
