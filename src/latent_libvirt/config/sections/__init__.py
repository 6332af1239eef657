# SPDX-License-Identifier: GPL-2.0-only
"""Sections of ``pool.yaml``: each key with its type, its default, its meaning and an example.

The descriptions are for people. The JSON schema and docs/reference/configuration.md have them.
"""
