# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt schema``."""

from __future__ import annotations

import json

from click.testing import CliRunner

from latent_libvirt.cli import main


def test_what_is_printed_is_a_file_that_editors_can_read() -> None:
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["required"] == ["master", "hosts", "labels"]
