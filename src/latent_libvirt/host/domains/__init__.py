# SPDX-License-Identifier: GPL-2.0-only
"""Domains: their XML, from before they exist until after they are gone."""
