# SPDX-License-Identifier: GPL-2.0-only
"""The stress harness: masters under a load that a profile describes, and a report with a verdict.

It starts a deployment, or takes one that runs already (``target``). It posts jobs at planned times,
lets readers use the web at the same time, measures all of that, and says which resource is
saturated. Masters, database, router and job API are the real ones. ``simulation`` says what is not.
"""
