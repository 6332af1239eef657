# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of targets: a load goes to loopback, and to what the profile lists."""

from __future__ import annotations

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.target.addresses import check


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8010/", "http://[::1]:8010/", "http://127.1.2.3/", "http://localhost/"],
)
def test_loopback_may_have_a_load(url: str) -> None:
    check(url, ())


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "https://[2001:db8::1]/", "http://10.0.0.1/", "http://0.0.0.0/"]
)
def test_another_address_has_to_be_listed(url: str) -> None:
    with pytest.raises(ConfigurationError, match="neither loopback nor listed"):
        check(url, ("192.0.2.2",))


def test_an_address_that_is_listed_may_have_a_load() -> None:
    check("https://[2001:DB8:0::1]:8010/", ("192.0.2.2", "2001:db8::1"))


def test_a_name_without_an_address_is_reported() -> None:
    with pytest.raises(ConfigurationError, match="has no address"):
        check("http://nowhere.invalid/", ())
