# SPDX-License-Identifier: GPL-2.0-only
"""Wheels for guests: what is unpacked of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from latent_libvirt.images import wheels


def test_c_parts_and_tests_are_left_out(tmp_path: Path) -> None:
    names = {
        "zope/interface/__init__.py",
        "zope/interface/_zope_interface_coptimizations.cpython-38-x86_64-linux-gnu.so",
        "zope/interface/_zope_interface_coptimizations.c",
        "zope/interface/tests/test_ro.py",
        "twisted/test/proto_helpers.py",
        "twisted/trial/test.py",
        "buildbot_worker/VERSION",
    }
    with zipfile.ZipFile(tmp_path / "some-1-py3-none-any.whl", "w") as wheel:
        for name in names:
            wheel.writestr(name, name)

    wheels.unpack(tmp_path, tmp_path / "site")

    files = (path for path in (tmp_path / "site").rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path / "site")) for path in files} == {
        "zope/interface/__init__.py",
        "twisted/trial/test.py",
        "buildbot_worker/VERSION",
    }
