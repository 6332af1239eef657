# SPDX-License-Identifier: GPL-2.0-only
"""The job API over HTTP: paths, pages and refusals."""
