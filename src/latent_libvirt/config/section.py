# SPDX-License-Identifier: GPL-2.0-only
"""Base of all sections of ``pool.yaml``, and the mark of keys that decide what a guest sees."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Hardware:
    """A mark of a label's keys that decide what its guests see."""


HARDWARE = Hardware()


class Section(BaseModel):
    """A mapping of known keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )
