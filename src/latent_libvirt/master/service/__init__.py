# SPDX-License-Identifier: GPL-2.0-only
"""The pool as a service of Buildbot's: its start, its configuration, its memory and its stop."""
