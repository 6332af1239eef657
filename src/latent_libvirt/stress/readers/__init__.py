# SPDX-License-Identifier: GPL-2.0-only
"""Readers of the web, whose engine is locust, in a separate Python environment."""
