# SPDX-License-Identifier: GPL-2.0-only
"""The examples of the tutorial make a master, from its first lesson to its last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from buildbot.config.master import FileLoader

ROOT = Path(__file__).parents[2]

FIRST = """
master: {max_vms: 4}
hosts: {local: {uri: "qemu:///system", slots: 4, storage_pool: builds}}
labels: {debian-12: {image: debian-12}}
"""
"""What `latent-libvirt init` makes, in short."""


def example(lesson: str, language: str) -> str:
    text = (ROOT / "docs/tutorial" / lesson).read_text()
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


def with_sections_of(pool: dict[str, Any], text: str) -> dict[str, Any]:
    more = yaml.safe_load(text)
    return {key: pool.get(key, {}) | more.get(key, {}) for key in pool.keys() | more.keys()}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_lesson_makes_a_master(directory: Path) -> None:
    (directory / "pool.yaml").write_text(FIRST)
    (directory / "master.cfg").write_text(example("first-job.md", "python"))

    config = FileLoader(str(directory), "master.cfg").loadConfig()

    assert [builder.name for builder in config.builders] == ["hello"]
    assert len(config.workers) == 4


def test_the_other_lessons_add_to_it(directory: Path) -> None:
    pool = with_sections_of(yaml.safe_load(FIRST), example("own-image.md", "yaml"))
    pool = with_sections_of(pool, example("second-host.md", "yaml"))
    (directory / "pool.yaml").write_text(yaml.safe_dump(pool))
    lessons = ("first-job.md", "own-image.md")
    text = "\n".join(example(lesson, "python") for lesson in lessons)
    (directory / "master.cfg").write_text(text)

    config = FileLoader(str(directory), "master.cfg").loadConfig()

    assert [builder.name for builder in config.builders] == ["hello", "compile"]
    assert {worker.name for worker in config.workers} >= set(config.builders[1].workernames)
