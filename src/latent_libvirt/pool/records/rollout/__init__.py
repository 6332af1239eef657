# SPDX-License-Identifier: GPL-2.0-only
"""Roll-outs of images: a new version gets a share of the VMs before it gets all of them."""
