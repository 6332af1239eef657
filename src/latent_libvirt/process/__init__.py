# SPDX-License-Identifier: GPL-2.0-only
"""This process, as its machine sees it: signals that end it, and new files that it writes."""
