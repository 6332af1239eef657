# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of values in a pool's configuration, each with its check and its JSON schema.

``sections/`` says which key has which kind.
"""
