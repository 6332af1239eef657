# SPDX-License-Identifier: GPL-2.0-only
"""Builds that Buildbot cannot start, each for a reason of its own."""

from __future__ import annotations

FAULTY = """
class Faulty(util.BuildFactory):
    def newBuild(self, requests, builder):
        properties = requests[0].properties
        fault = properties.getProperty("fault")
        if fault == "factory":
            raise RuntimeError("the factory is broken")
        if fault == "virtual":
            properties.setProperty("virtual_builder_name", {"not": "a name"}, "test")
        if fault == "tags":
            properties.setProperty("virtual_builder_name", "of-a-client", "test")
            properties.setProperty("virtual_builder_project", {"not": "a project"}, "test")
        build = super().newBuild(requests, builder)
        if fault == "locks":
            build.setLocks = lambda locks: type(build).setLocks(build, 5)
        if fault == "steps":
            build.setStepFactories([lambda: 1 / 0])
        if fault == "properties":
            properties.setProperty("unstorable", object(), "test")
        return build

factory = Faulty([steps.SetProperty(property="done", value="yes")])
"""
"""Statements of a master.cfg: a ``factory`` whose builds fail as their property ``fault`` says."""

FAULTS = ("factory", "virtual", "tags", "locks", "steps", "properties")
