# SPDX-License-Identifier: GPL-2.0-only
"""Targets of a load that run already: the harness starts nothing, and looks from outside.

Jobs are posted with a token, and readers use the same URL. Masters, processes and a database that
are on this machine are measured, too, if the profile names them. The report says what could not be
seen. All jobs of the harness are cancelled at the end, unless they have ended.
"""
