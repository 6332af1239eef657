# SPDX-License-Identifier: GPL-2.0-only
"""Properties that no client may choose: those that Buildbot or this package interprets or sets.

Buildbot takes a property for its own wherever it comes from: ``virtual_builder_name`` files a build
under another builder, ``workername`` chooses the worker, and a value of a type that it does not
expect fails where nobody handles that. The names are those of Buildbot 4.3.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

JOB_UUID = "job_uuid"
JOB_URL = "job_url"
"""The properties that carry a job's name and link."""

OURS = ("job_*", "vm_*")
"""What this package says to builds: of their job, and of their VM."""

OF_BUILDS = (
    "basedir",
    "branch",
    "builddir",
    "builderid",
    "buildername",
    "buildnumber",
    "codebase",
    "got_revision",
    "machine_name",
    "owner",
    "owners",
    "project",
    "projectid",
    "projectname",
    "reason",
    "repository",
    "revision",
    "scheduler",
    "virtual_builder_*",
    "warnings-count",
    "workername",
)
"""What Buildbot itself interprets, or sets of each build."""

OF_STEPS = (
    "BUILDBOT*",
    "commit-description",
    "cppcheck-*",
    "deb-changes",
    "diffinfo-merge-base-commit",
    "event.*",
    "full_name",
    "gerrit_*",
    "instance",
    "pullrequesturl",
    "pyflakes-*",
    "pylint-*",
    "repo_downloaded",
    "root_password",
    "source_branch",
    "source_git_ssh_url",
    "srpm",
    "target_branch",
    "target_git_ssh_url",
    "tests_failed",
    "tests_skipped",
    "tests_successful",
    "tree-size-KiB",
)
"""What only some of Buildbot's steps, workers and reporters interpret or set.

Where a builder has none of these, such a name is as good as any.
"""


def whose(name: str) -> str | None:
    """Return who interprets or sets a property of every build; ``None`` if nobody does."""
    if _matches(name, OURS):
        return "latent_libvirt"
    return "Buildbot" if _matches(name, OF_BUILDS) else None


def is_for_steps(name: str) -> bool:
    """Whether some of Buildbot's steps, workers or reporters interpret or set it."""
    return _matches(name, OF_STEPS)


def configured(config: Any, builder: str) -> frozenset[str]:
    """Return the properties that a master's configuration sets of the builds of a builder.

    Buildbot would silently overwrite with them what a client says.

    :param config: Buildbot's ``MasterConfig``. What only other masters configure is not known here.
    """
    builders = [each for each in config.builders if each.name == builder]
    workers = {name for each in builders for name in each.workernames}
    of_builder = {name for each in builders for name in each.properties or ()}
    of_workers = {
        name
        for worker in config.workers
        if worker.workername in workers
        for name in worker.properties.properties
    }
    return frozenset(of_builder | of_workers)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
