# SPDX-License-Identifier: GPL-2.0-only
"""What a master sends of a console arrives whole, and as what it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.control.frames import Frame, FrameDecoder, Kind

frames = st.lists(st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=40)), max_size=8)


@given(frames, st.lists(st.integers(1, 30)))
def test_frames_arrive_whole_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(bytes, sent))
    decoder = FrameDecoder()
    received = []
    for cut in cuts:
        received += decoder.feed(data[:cut])
        data = data[cut:]

    assert received + decoder.feed(data) == sent


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="not a valid Kind"):
        FrameDecoder().feed(b'{"protocol": 1}\n')
