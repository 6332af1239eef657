# SPDX-License-Identifier: GPL-2.0-only
"""The identity, which the launcher believes if every part of it is what it must be."""

from __future__ import annotations

import base64
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from handshakes import GOOD, PASSWORD
from latent_libvirt.guest import protocol
from latent_libvirt.guest.launcher import identity
from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.identity import parse_identity

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_the_identity_that_the_pool_sends_is_accepted() -> None:
    sent = protocol.Identity(
        name="debian-12-1",
        password=protocol.new_password(),
        master=protocol.MasterAddress("10.0.2.2", 9989),
        user="worker",
    )

    got = parse_identity(sent.message(now=1764000000.25))

    assert (got.name, got.password, got.user) == (sent.name, sent.password, sent.user)
    assert (got.master_host, got.master_port) == ("10.0.2.2", 9989)
    assert got.time == 1764000000.25
    assert len(got.entropy) == protocol.ENTROPY_BYTES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 257),
        ("password", None),
        ("password", 7),
        ("time", True),
        ("time", "1764000000"),
        ("time", float("nan")),
        ("time", 12.0),
        ("time", 1e300),
        ("hostname", "-dash"),
        ("hostname", "a b"),
        ("hostname", "a\n127.0.0.1 trap"),
        ("hostname", "x" * 254),
        ("entropy", "not base64!"),
        ("entropy", base64.b64encode(bytes(8)).decode()),
        ("entropy", base64.b64encode(bytes(2000)).decode()),
        ("user", "../root"),
        ("user", "Worker"),
        ("user", ""),
        ("master", "10.0.2.2:9989"),
        ("master", {"host": "10.0.2.2"}),
        ("master", {"host": "10.0.2.2", "port": 0}),
        ("master", {"host": "10.0.2.2", "port": 65536}),
        ("master", {"host": "10.0.2.2", "port": True}),
        ("master", {"host": "tcp:evil:1", "port": 9989}),
        ("master", {"channel": 7}),
        ("master", {"channel": "0123456789abcdeg"}),
    ],
)
def test_an_identity_with_a_wrong_part_is_refused_and_not_repeated(key: str, value: object) -> None:
    with pytest.raises(LauncherError, match=r"^identity: \w+ is (not valid|missing or)") as caught:
        parse_identity({**GOOD, key: value})

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("key", sorted(GOOD.keys() - {"type", "protocol"}))
def test_an_identity_without_a_part_is_refused(key: str) -> None:
    message = {name: value for name, value in GOOD.items() if name != key}

    with pytest.raises(LauncherError, match=f"identity: {key} is missing"):
        parse_identity(message)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_whatever_comes_is_an_identity_or_a_launcher_error(key: str, value: object) -> None:
    try:
        got = parse_identity({**GOOD, key: value})
    except LauncherError:
        return
    assert 0 < got.master_port < 65536
    assert got.hostname == got.hostname.strip()


@pytest.mark.parametrize("host", ["10.0.2.2", "fd00::2", "master", "ci-1.example.org"])
def test_a_master_is_named_by_address_or_host_name(host: str) -> None:
    message = {**GOOD, "master": {"host": host, "port": 9989}}

    assert parse_identity(message).master_host == host


def test_nothing_secret_is_in_the_representation_of_an_identity() -> None:
    assert PASSWORD not in repr(parse_identity(GOOD))


@pytest.mark.parametrize("value", ["", "no certificate", 7, "x" * 70_000])
def test_an_identity_with_a_broken_certificate_is_refused(value: object) -> None:
    with pytest.raises(LauncherError, match="certificate"):
        identity._certificate({"certificate": value}, "certificate")


def test_the_certificate_of_an_identity_is_read() -> None:
    pem = trustme.CA().issue_cert("master").cert_chain_pems[0].bytes().decode()
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert identity._certificate({"certificate": pem}, "certificate") == der
    assert identity._certificate({}, "certificate") is None
