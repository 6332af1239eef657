# SPDX-License-Identifier: GPL-2.0-only
"""KVM of a host: whether it really works."""
