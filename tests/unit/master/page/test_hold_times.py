# SPDX-License-Identifier: GPL-2.0-only
"""The page and the command hold a VM for the same time, if nobody says for how long."""

from __future__ import annotations

import re
from pathlib import Path

from latent_libvirt.cli.holding.hold import DEFAULT
from latent_libvirt.config.units import parse_duration
from latent_libvirt.control.messages import LONGEST_HOLD
from latent_libvirt.master import page


def test_the_page_offers_the_commands_usual_time_first_and_its_longest() -> None:
    script = Path(page.__file__).with_name("static") / "actions.js"
    found = re.search(r"^const TIMES = (.*);$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    seconds = [int(each) for each in re.findall(r", (\d+)\]", found[1])]

    assert seconds[0] == parse_duration(DEFAULT)
    assert max(seconds) == LONGEST_HOLD
