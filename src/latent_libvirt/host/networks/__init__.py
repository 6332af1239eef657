# SPDX-License-Identifier: GPL-2.0-only
"""Networks of guests, and what keeps guests apart."""
