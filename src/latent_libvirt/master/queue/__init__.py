# SPDX-License-Identifier: GPL-2.0-only
"""The queue: build requests that wait, and why each of them waits."""
