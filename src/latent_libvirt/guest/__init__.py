# SPDX-License-Identifier: GPL-2.0-only
"""Programs inside a VM. They are copied into images, and import nothing else of this package."""
