# SPDX-License-Identifier: GPL-2.0-only
"""Report of a run: figures from raw data, a verdict by explicit rules, and a page with plots."""
