# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a host answers is understood, or is an error of ours; never anything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import HostError
from latent_libvirt.host import names
from latent_libvirt.host.domains.domain_xml import (
    record_of,
    saved_record,
)
from latent_libvirt.host.libvirtd.answers import (
    listed,
    named,
    parsed,
    printable,
)

TEXT = st.text() | st.from_regex(r"<(a|vm)[^>]{0,40}>.{0,40}</(a|vm)>")
ODD = [
    "",
    "<a>",
    "<?xml version='1.0' encoding='latin-1'?><a/>",
    "<a>\x01</a>",
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "<a>" * 100_000,
    "<vm xmlns='urn:x' {y}z=''/>",
]


class Thing:
    """What has a name, in whatever bytes."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def name(self) -> str:
        """Return it, as libvirt-python does."""
        return self._name.decode()


@pytest.mark.parametrize("xml", ODD)
def test_xml_that_is_none_is_an_error_of_ours(xml: str) -> None:
    with contextlib.suppress(HostError):
        assert "root:" not in "".join(parsed(xml, "a volume").itertext())
    assert record_of(xml) is None
    assert saved_record(xml) is None


@given(TEXT)
def test_any_text_is_xml_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(HostError):
        parsed(text, "a volume")
    record_of(text)
    saved_record(text)


@given(st.text() | st.integers(min_value=0).map(lambda n: f"{names.DOMAIN_PREFIX}-{n}"))
def test_any_name_is_one_of_ours_or_none(name: str) -> None:
    slot = names.slot_of(name)
    assert slot is None or names.domain_name(slot) == name
    names.OwnedVolume.parse(name)


def test_a_number_of_a_slot_may_be_as_long_as_it_likes() -> None:
    assert names.slot_of(names.DOMAIN_PREFIX + "-" + "9" * 5000) is None


def test_one_name_that_is_no_text_hides_no_other() -> None:
    things = [Thing(b"one"), Thing(b"Pr\351sentation.iso"), Thing(b"two")]

    assert [name for name, _ in named(things)] == ["one", "two"]
    assert listed(things) == "one, two"
    assert listed(things[1:2]) == "none"


def test_what_is_shown_of_a_name_is_short_and_harmless() -> None:
    assert printable("a\x1b[2Jb") == "a?[2Jb"
    assert len(printable("x" * 10_000)) < 100
