# SPDX-License-Identifier: GPL-2.0-only
"""``image.json``: what it says is believed only if it agrees with itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_images import fake_image
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.description import Description, Part, Parts, digest_of

sizes = st.integers(0, 2**50)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
parts = st.builds(Part, sha256=hashes, size=sizes)
all_parts = st.builds(Parts, disk=parts, kernel=parts, initrd=parts)


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    text = fake_image(tmp_path).description.to_json()
    values: dict[str, Any] = json.loads(text)
    return values


def parse(document: object) -> Description:
    return Description.from_json(json.dumps(document), source="image.json")


def test_a_description_survives_being_written(document: dict[str, Any]) -> None:
    description = parse(document)

    assert Description.from_json(description.to_json(), source="") == description
    assert description.digest.startswith(description.short_digest)


def test_a_description_that_names_no_architecture_is_of_x86_64(
    document: dict[str, Any], tmp_path: Path
) -> None:
    assert "architecture" not in document
    assert parse(document).architecture == "x86_64"
    foreign = fake_image(tmp_path / "foreign", architecture="aarch64").description

    assert json.loads(foreign.to_json())["architecture"] == "aarch64"
    assert Description.from_json(foreign.to_json(), source="") == foreign


def test_a_description_that_names_no_firmware_is_of_a_disk_that_a_bios_boots(
    document: dict[str, Any], tmp_path: Path
) -> None:
    assert "firmware" not in document
    assert parse(document).firmware == "bios"
    other = fake_image(tmp_path / "other", firmware="uefi").description

    assert json.loads(other.to_json())["firmware"] == "uefi"
    assert Description.from_json(other.to_json(), source="") == other


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("name", "../etc"),
        ("name", "x" * 41),
        ("digest", "0" * 64),
        ("digest", "0"),
        ("created", "2026-01-02T00:00:00"),
        ("virtual_size", 0),
        ("virtual_size", "20 GiB"),
        ("command_line", ""),
        ("command_line", "root=/dev/vda1\ninit=/bin/sh"),
        ("command_line", "init=/bin/sh"),
        ("launcher", "short"),
        ("parts", {}),
        ("architecture", "arm 64"),
        ("firmware", "coreboot"),
        ("comment", "unknown"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    document: dict[str, Any], key: str, value: object
) -> None:
    with pytest.raises(ConfigurationError, match=r"image\.json does not describe an image"):
        parse({**document, key: value})


def test_an_image_may_come_without_a_kernel_and_has_no_command_line_then(
    document: dict[str, Any],
) -> None:
    disk = {"disk": document["parts"]["disk"]}
    alone = Parts.model_validate(disk)
    imported = {**document, "parts": disk, "command_line": "", "digest": digest_of(alone, "")}
    description = parse(imported)

    assert [name for name, _part in description.parts.items()] == ["disk"]
    assert description.parts.size == alone.disk.size
    assert parse(json.loads(description.to_json())) == description


def test_a_kernel_an_initial_ram_disk_and_a_command_line_belong_together(
    document: dict[str, Any],
) -> None:
    parts = document["parts"]
    without = {name: part for name, part in parts.items() if name != "initrd"}
    for wrong in ({"parts": without}, {"parts": {"disk": parts["disk"]}}, {"command_line": ""}):
        with pytest.raises(ConfigurationError, match="belong together"):
            parse({**document, **wrong})


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "\0", "[" * 100_000])
def test_what_is_no_description_at_all_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="does not describe an image"):
        Description.from_json(text, source="image.json")


def test_a_part_that_was_exchanged_is_noticed(document: dict[str, Any]) -> None:
    document["parts"]["kernel"]["sha256"] = "f" * 64

    with pytest.raises(ConfigurationError, match="not that of the parts"):
        parse(document)


@given(all_parts, all_parts, st.text(), st.text())
def test_equal_digests_mean_equal_content(
    some: Parts, others: Parts, command_line: str, other_command_line: str
) -> None:
    same = [part.sha256 for _name, part in some.items()] == [
        part.sha256 for _name, part in others.items()
    ] and command_line == other_command_line

    assert same == (digest_of(some, command_line) == digest_of(others, other_command_line))
