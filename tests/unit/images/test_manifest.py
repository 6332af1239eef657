# SPDX-License-Identifier: GPL-2.0-only
"""Manifests: written, read and compared."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.images import manifest, recipes

words = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1).filter(
    lambda word: not word.startswith("#")
)
manifests = st.dictionaries(
    st.builds("{} {}".format, st.sampled_from(["deb", "wheel"]), words), words
)

REQUIREMENTS = f"""\
# A comment.
attrs==26.1.0 \\
    --hash=sha256:{"a" * 64}
zope-interface==8.7 \\
    --hash=sha256:{"b" * 64}
"""


def test_every_package_and_every_wheel_is_in_it() -> None:
    found = manifest.from_system("base-files 12.4\nbash 5.2-2\n", REQUIREMENTS)

    assert found == {
        "deb base-files": "12.4",
        "deb bash": "5.2-2",
        "wheel attrs": f"26.1.0 sha256:{'a' * 64}",
        "wheel zope-interface": f"8.7 sha256:{'b' * 64}",
    }


@given(manifests)
def test_a_manifest_survives_being_written(content: dict[str, str]) -> None:
    text = manifest.serialize(content)

    assert manifest.parse(f"# A comment.\n\n{text}") == content
    assert text.splitlines() == sorted(text.splitlines(), key=lambda row: row.split(" ")[:2])


@given(manifests)
def test_nothing_differs_from_itself(content: dict[str, str]) -> None:
    assert list(manifest.differences(content, content)) == []


def test_what_differs_is_told_in_words() -> None:
    expected = {"deb bash": "5.1", "deb gone": "1", "deb same": "1"}
    found = {"deb bash": "5.2", "deb new": "2", "deb same": "1"}

    assert list(manifest.differences(expected, found)) == [
        "deb bash: 5.2 (was 5.1)",
        "deb gone: gone (was 1)",
        "deb new: 2 (new)",
    ]


def test_a_recipe_without_a_manifest_expects_nothing(tmp_path: Path) -> None:
    assert manifest.read(tmp_path / "manifest.txt") == {}


def test_the_committed_manifests_agree_with_the_pinned_requirements() -> None:
    shipped = [recipes.load(name) for name in recipes.names()]
    assert [each.name for each in shipped if not each.manifest.exists()] == ["debian-sid"]
    for recipe in (each for each in shipped if each.manifest.exists()):
        pinned = manifest.from_system("", recipe.requirements.read_text())
        committed = manifest.read(recipe.manifest)
        assert {k: v for k, v in committed.items() if k.startswith("wheel ")} == pinned
        assert {f"deb {package}" for package in recipe.settings.packages} <= committed.keys()


def test_lineage_goes_on_from_that_of_the_base_and_is_no_difference() -> None:
    found: dict[str, str] = {}
    for step in range(1, 12):
        found = {"deb make": "1", **manifest.lineage(f"image-{step} digest", found)}
    read = manifest.parse(manifest.serialize(found))

    assert read["base 1"] == "image-11 digest"
    assert read["base 2"] == "image-10 digest"
    assert read["base 11"] == "image-1 digest"
    assert list(manifest.differences({"deb make": "1"}, read)) == []
