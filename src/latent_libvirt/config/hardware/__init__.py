# SPDX-License-Identifier: GPL-2.0-only
"""Hardware keys of a label that are sections: each with its models and what makes them wrong."""
