# SPDX-License-Identifier: GPL-2.0-only
"""The launcher's end of the channel."""

from __future__ import annotations

import json

from handshakes import conversation


def test_what_the_launcher_says_is_a_line_of_json() -> None:
    with conversation() as (channel, host):
        channel.send("failed", reason="naïve\nreason")

        assert json.loads(host.recv(4096).removesuffix(b"\n")) == {
            "type": "failed",
            "protocol": 1,
            "reason": "naïve\nreason",
        }
