# SPDX-License-Identifier: GPL-2.0-only
"""The job API: one POST starts a job, one UUID names it, one URL shows what became of it.

A job is a Buildbot buildset with one build request, and a row in a table of this package's own that
gives it its UUID. It knows nothing of VMs but what a build's properties say. What happens where is
in ``docs/reference/job-api.md``.
"""
