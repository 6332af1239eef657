# SPDX-License-Identifier: GPL-2.0-only
"""Disks of a label: what can be one, and where a mistake is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.config.units import MIB

Load = Callable[..., object]


def test_a_label_has_disks_in_the_order_of_the_file(good: str, load_text: Load) -> None:
    disks = "[{name: cache, size: 64MiB}, {name: tools, volume: a.iso, read_only: true}]"
    config = load_text(good.replace("memory: 1GiB", f"disks: {disks}"))

    cache, tools = config.labels["debian-12"].disks  # type: ignore[attr-defined]
    assert (cache.name, cache.size, cache.volume) == ("cache", 64 * MIB, None)
    assert (tools.name, tools.volume, tools.read_only) == ("tools", "a.iso", True)


@pytest.mark.parametrize(
    ("disks", "problem"),
    [
        ("20GiB", "19:12: labels.debian-12.disks: this is not a list"),
        ("{name: a}", "19:12: labels.debian-12.disks: this is not a list"),
        ("[{size: 1GiB}]", "labels.debian-12.disks[0].name: missing; add"),
        ("[{name: a}]", "disks[0].name: the disk has neither a size nor a volume; write `size: "),
        ("[{name: a, read_only: true}]", "read_only: an empty disk is no use to read; name its"),
        (
            "[{name: a, read_only: true, volume: v, size: 1GiB}]",
            "disks[0].size: a disk that is only read cannot grow; remove one of the two",
        ),
        ("[{name: a, size: 1}]", "disks[0].size: the size 1 has no unit"),
        ("[{name: a, size: 1MiB}]", "disks[0].size: 1MiB is too small for a disk"),
        ("[{name: a, volume: ../v}]", "disks[0].volume: '../v' cannot be a name in libvirt"),
        (f"[{{name: {'a' * 21}, size: 1GiB}}]", "is too long for the serial number of a disk"),
        ("[{name: a/b, size: 1GiB}]", "disks[0].name: 'a/b' is not a name"),
        ("[{name: a, size: 1GiB}, {name: a, size: 2GiB}]", "disks[1].name: there is a disk 'a'"),
        (f"[{', '.join(f'{{name: a{n}, size: 1GiB}}' for n in range(17))}]", "at most 16"),
    ],
)
def test_what_can_be_no_disk_is_refused_where_it_stands(
    disks: str, problem: str, problem_with: Callable[[str, str], str]
) -> None:
    assert problem in problem_with("memory: 1GiB", f"disks: {disks}")


@pytest.mark.parametrize(
    ("device", "is_refused"),
    [("vdc", True), ("vdd", True), ("vd&#100;", True), ("vde", False)],
)
def test_a_fragment_cannot_have_the_disks_of_the_label(
    device: str,
    is_refused: bool,  # noqa: FBT001
    good: str,
    problems_of: Callable[[str], list[str]],
) -> None:
    keys = f"""disks: [{{name: a, size: 1GiB}}, {{name: b, size: 1GiB}}]
    domain_xml: <devices><disk type="file"><target bus="virtio" dev="{device}"/></disk></devices>"""
    problems = problems_of(good.replace("memory: 1GiB", keys))

    assert len(problems) == is_refused
    shown = device.replace("&#100;", "d")
    for problem in problems:
        assert f"the disk '{shown}' is one of the label's `disks`; name another" in problem
