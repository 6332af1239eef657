# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share: how hypothesis looks for examples."""

from __future__ import annotations

import hypothesis

# Machines are busy: how long an example takes says nothing. What fails is to be repeatable.
hypothesis.settings.register_profile("here", deadline=None, print_blob=True)
hypothesis.settings.load_profile("here")
