# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share: how hypothesis looks for examples, and options of the long tests."""

from __future__ import annotations

import hypothesis
import pytest

# Machines are busy: how long an example takes says nothing. What fails is to be repeatable.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True)
hypothesis.settings.load_profile("here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a test be a soak test, where there is time for it."""
    parser.addoption("--jobs", type=int, default=120, help="jobs through several masters")
    parser.addoption("--rounds", type=int, default=1, help="how often all is hurt meanwhile")
    parser.addoption("--files", type=int, default=2000, help="files with something wrong")
