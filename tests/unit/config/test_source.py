# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with the YAML itself, whatever it means."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.advice import page
from latent_libvirt.config import PoolConfig, strict_yaml

Load = Callable[[str | bytes], PoolConfig]
Problems = Callable[[str | bytes], list[str]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "master:\n\tmax_vms: 4\n",
            (
                "2:1: not YAML: found character '\\t' that cannot start any token; "
                "indent with spaces, not with tabs"
            ),
        ),
        (
            "master: {max_vms: 4\nhosts: {}\n",
            (
                "2:6: not YAML: expected ',' or '}', but got ':'; "
                "close the bracket, and separate what is in it with commas"
            ),
        ),
        (
            "master:\n  max_vms: 4\n name: x\n",
            (
                "3:2: not YAML: expected <block end>, but found '<block mapping start>'; "
                "give all keys of a mapping the same indentation"
            ),
        ),
        (
            "master:\n  name: a: b\n",
            (
                "2:10: not YAML: mapping values are not allowed here; "
                "check the indentation; text with ': ' needs quotes"
            ),
        ),
        (
            'master:\n  name: "abc\n',
            "3:1: not YAML: found unexpected end of stream; close the quotes",
        ),
        (
            "a: @b\n",
            (
                "1:4: not YAML: found character '@' that cannot start any token; "
                "put text that begins with this character in quotes"
            ),
        ),
        ("a: b\nc: \x00\n", "2:4: the character U+0000 is not allowed in YAML; remove it"),
        (b"a: 1\nbc: \xff\n", "2:5: not UTF-8; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "1:1: not UTF-8; save the file as UTF-8"),
        (b"#" * (2**20 + 1), "1:1: larger than 1024 KiB; is it the right file?"),
        (
            "[" * 100_000,
            "1:22: not YAML: nested too deeply; compare the file with "
            + page("docs/reference/configuration.md"),
        ),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(
    problems_of: Problems, text: str | bytes, problem: str
) -> None:
    assert problems_of(text) == [problem]


def test_a_file_is_read_up_to_a_number_of_values(
    problems_of: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_yaml, "MOST_NODES", 500)

    assert problems_of("- x\n" * 240_000) == [
        "500:3: not YAML: more than 500 keys and values; is it the right file?"
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "    memory: &much 1GiB",
            "19:13: YAML anchors are not supported; write each value out",
        ),
        ("    memory: *much", "19:13: YAML aliases are not supported; write the value out"),
        (
            "    memory: !!python/object:os.system 1GiB",
            (
                "19:13: the YAML tag 'tag:yaml.org,2002:python/object:os.system' is not supported; "
                "remove it"
            ),
        ),
        (
            "    ? [memory]\n    : 1GiB",
            "19:7: labels.debian-12: a key must be plain text; write `key: value`",
        ),
    ],
)
def test_what_yaml_offers_beyond_plain_values_is_refused(
    good: str, problems_of: Problems, line: str, problem: str
) -> None:
    assert problems_of(good.replace("    memory: 1GiB", line)) == [problem]


def test_merge_keys_are_refused_by_their_name(good: str, problems_of: Problems) -> None:
    text = good.replace("  large:", "  <<: {}\n  large:")
    assert "20:3: labels.'<<': YAML merge keys are not supported; write the keys out" in (
        problems_of(text)
    )


def test_a_second_document_is_refused(good: str, problems_of: Problems) -> None:
    lines = good.count("\n")
    assert problems_of(f"{good}---\na: 1\n") == [
        f"{lines + 1}:1: a second YAML document begins; keep everything in one document"
    ]


def test_a_bomb_of_aliases_is_refused_before_it_goes_off(problems_of: Problems) -> None:
    levels = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30))
    problems = problems_of(f"a0: &a0 [x]\n{levels}")
    assert "2:10: YAML aliases are not supported; write the value out" in problems


def test_other_problems_are_told_along_with_refused_yaml(good: str, problems_of: Problems) -> None:
    text = good.replace("1GiB", "*much").replace("slots: 4", "slots: x")
    assert [line.partition(" ")[0] for line in problems_of(text)] == ["6:12:", "19:13:"]


@pytest.mark.parametrize("escape", [r"\ud800", r"\U00110000", r"\UFFFFFFFF", r"\q"])
def test_escapes_that_are_no_characters_are_refused(problems_of: Problems, escape: str) -> None:
    (problem,) = problems_of(f'master:\n  name: "{escape}"\n')
    assert problem.startswith("2:")


def test_a_byte_order_mark_does_no_harm(load_text: Load, good: str) -> None:
    assert load_text(b"\xef\xbb\xbf" + good.encode()) == load_text(good)


def test_windows_line_ends_do_no_harm(load_text: Load, good: str) -> None:
    assert load_text(good.replace("\n", "\r\n")) == load_text(good)


def test_scalars_are_read_by_the_core_schema_and_keys_are_text(load_text: Load, good: str) -> None:
    text = good.replace("  debian-12:\n", "  no:\n").replace("vms: 1", "vms: 010")
    config = load_text(text)
    assert "no" in config.labels
    assert config.labels["large"].max_vms == 10


def test_columns_are_counted_in_characters(problems_of: Problems) -> None:
    assert problems_of("{ünïcödé: 1, master: {max_vms: 1}, x: 1}")[-1].startswith("1:36: x")
