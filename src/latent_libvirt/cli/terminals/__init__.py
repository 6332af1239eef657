# SPDX-License-Identifier: GPL-2.0-only
"""Terminals of operators: what is printed there, and what is typed there for a VM's console."""
