# SPDX-License-Identifier: GPL-2.0-only
"""Limits of open files, in a process that may be harmed by them."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from latent_libvirt.master.workers.port import descriptors
soft, hard, descriptors.MOST_DESCRIPTORS = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.raise_descriptor_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard
print(descriptors.descriptor_limit())
"""


@pytest.mark.parametrize(
    ("soft", "hard", "most", "expected"),
    [
        (256, 1000, 16_384, 1000),
        (256, 1000, 700, 700),
        (900, 1000, 700, 900),
        (1000, 1000, 16_384, 1000),
    ],
    ids=["to the hard limit", "to our bound", "never lower", "no higher"],
)
def test_a_process_may_open_as_many_files_as_it_is_let(
    soft: int, hard: int, most: int, expected: int
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)

    assert int(done.stdout) == expected
