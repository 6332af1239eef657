# SPDX-License-Identifier: GPL-2.0-only
"""Views of what commands have found, for people and for programs."""
