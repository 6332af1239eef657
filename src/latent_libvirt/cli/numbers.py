# SPDX-License-Identifier: GPL-2.0-only
"""Numbers as options take them: written in the way that everybody writes them, and in a range.

Click's own types take all that Python does.
"""

from __future__ import annotations

from typing import Any

import click

from latent_libvirt.plain_text.strict_values import decimal_number, whole_number


class WholeNumber(click.IntRange):
    """A range of whole numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number that an option has."""
        if isinstance(value, str):
            try:
                value = whole_number(value)
            except ValueError:
                self.fail(f"{value!r} is not a whole number.", param, ctx)
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A range of seconds, which may have a fraction."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds that an option has."""
        if isinstance(value, str):
            try:
                value = decimal_number(value)
            except ValueError:
                self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return super().convert(value, param, ctx)
