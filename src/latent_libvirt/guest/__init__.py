# SPDX-License-Identifier: GPL-2.0-only
"""What runs inside a VM. It is copied into images as one file, and imports nothing else of ours."""
