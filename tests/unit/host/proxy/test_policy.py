# SPDX-License-Identifier: GPL-2.0-only
"""What a guest may reach, and the reasons for what it may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import DestinationConfig
from latent_libvirt.host.proxy.policy import Policy, RefusedError, is_usable, usable

FILES = DestinationConfig(name="files.example.org", port=443)
INTERNAL = DestinationConfig(name="mirror", port=3142, private=True)
POLICY = Policy("hermetic", [FILES, INTERNAL])


@pytest.mark.parametrize("name", ["files.example.org", "FILES.example.ORG", "files.example.org."])
def test_a_name_that_is_listed_may_be_reached(name: str) -> None:
    assert POLICY.destination(name, 443) == FILES


@pytest.mark.parametrize(
    ("name", "port", "why"),
    [
        ("example.org", 443, "label hermetic does not allow example.org:443"),
        ("x.files.example.org", 443, "label hermetic does not allow x.files.example.org:443"),
        ("files.example.org", 22, "label hermetic allows files.example.org at port 443 only"),
        ("192.0.2.1", 443, "192.0.2.1:443 is an IP address, and label hermetic allows names"),
        ("[::1]", 443, "[::1]:443 is an IP address, and label hermetic allows names"),
        ("2130706433", 80, "2130706433:80 is an IP address, and label hermetic allows names"),
        ("0x7f.1", 80, "0x7f.1:80 is an IP address, and label hermetic allows names"),
        ("a\r\nb", 80, "label hermetic does not allow a??b:80"),
        ("a" * 5000, 80, f"label hermetic does not allow {'a' * 100}...:80"),
    ],
)
def test_other_things_are_refused_with_the_reason(name: str, port: int, why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        POLICY.destination(name, port)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    "literal",
    [
        *("127.1", "127.0.1", "0177.0.0.1", "017700000001", "0x7f000001", "0X7F.0.0.1", "127.1."),
        *("::ffff:10.0.0.1", "[::ffff:a00:1]", "64:ff9b::a00:1", "fe80::1%eth0", "fc00::1", "::"),
    ],
)
def test_an_address_is_no_name_in_whatever_way_it_is_written(literal: str) -> None:
    with pytest.raises(RefusedError) as caught:
        POLICY.destination(literal, 443)
    shown = literal.lower().removesuffix(".")
    what = f"{shown}:443 is an IP address, and label hermetic allows names"
    assert str(caught.value) == what


@pytest.mark.parametrize(
    "name",
    [
        "f\u0456les.example.org",  # a Cyrillic letter for the i
        "\ufb01les.example.org",  # one letter for f and i
        "files\u3002example\u3002org",  # dots that IDNA reads as dots
        "files.ex\u00adample.org",  # a soft hyphen, which IDNA leaves out
        "xn--fles-h1d.example.org",
        *("files.example.org..", ".files.example.org", "files..example.org"),
        *(
            "files.example.org\0",
            "files.example.org ",
            "files.example.org\t",
            "files%2eexample.org",
        ),
        *("files.example.org@example.com", "files.example.org#", "files.example.org\\"),
    ],
)
def test_a_name_that_looks_like_a_listed_one_is_another_one(name: str) -> None:
    with pytest.raises(RefusedError, match="label hermetic does not allow"):
        POLICY.destination(name, 443)


@given(st.text(), st.integers())
def test_a_refusal_is_one_short_line(name: str, port: int) -> None:
    with pytest.raises(RefusedError) as caught:
        Policy("a", []).destination(name, port)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


HOME = ["127.0.0.1", "::1", "10.0.2.2", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1"]
HOME += ["127.1.2.3", "10.255.255.255", "172.31.0.1", "fc00::1", "fec0::2", "198.18.0.1"]
NEVER = ["0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "240.0.0.1"]
NEVER += ["fe80::1%lo", "255.255.255.255", "239.255.255.250"]
WRAPPED = ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.1.2.3"]
WRAPPED += ["64:ff9b::a00:1", "2002:a00:1::1", "2001:0:c000:201:0:ffff:f5ff:fffe"]
SPECIAL = ["64:ff9b:1::a00:1", "::10.0.0.1", "5f00::1", "2001:db8::1", "3fff::1", "100::1"]
SPECIAL += ["0.1.2.3", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.51.100.1", "203.0.113.1"]


@pytest.mark.parametrize("address", [*HOME, *WRAPPED, *NEVER, *SPECIAL])
def test_a_name_with_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(RefusedError, match="which is not public") as caught:
        usable(FILES, ["93.184.216.34", address])

    can_be_allowed = is_usable(address, private=True)
    assert caught.value.lacks_private == can_be_allowed
    assert ("private: true" in str(caught.value)) == can_be_allowed


@pytest.mark.parametrize("address", [*HOME, *WRAPPED])
def test_an_operator_can_allow_addresses_of_a_private_network(address: str) -> None:
    assert usable(INTERNAL, [address]) == [address]


@pytest.mark.parametrize("address", [*NEVER, "::ffff:169.254.169.254"])
def test_nobody_can_allow_what_is_no_address_of_one_host(address: str) -> None:
    assert not is_usable(address, private=True)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_used(address: str) -> None:
    assert usable(FILES, [address]) == [address]


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"files\.example\.org has no address"):
        usable(FILES, [])
