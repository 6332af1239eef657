# SPDX-License-Identifier: GPL-2.0-only
"""The forward proxy for guests without a network card: policy first, then what it fetches."""
