# SPDX-License-Identifier: GPL-2.0-only
"""What follows from a configuration is worked out once, and again for another one."""

from __future__ import annotations

from latent_libvirt.pool.upkeep.configured import Configured
from paper_pool import config_of


def test_it_follows_the_configuration_whatever_is_asked_first() -> None:
    before = config_of(one={"hosts": ["alpha"]}, two={"start": "boot"})
    current = [before]

    def configured() -> Configured:
        return Configured(lambda: current[0])

    assert configured().resumed_on("alpha") == ("one",)
    assert configured().resumed_on("beta") == ()
    assert configured().resumed_on("gamma") == ()
    found = configured()
    assert found.may_use("one", "alpha")
    assert not found.may_use("one", "beta")
    hashes = found.spec_hashes
    assert list(hashes) == ["one", "two"]
    assert found.spec_hashes is hashes, "it is the same as long as nothing changes"

    current[0] = config_of(one={"hosts": ["beta"], "vcpus": 2})

    assert found.spec_hashes.keys() == {"one"}
    assert found.spec_hashes["one"] != hashes["one"]
    assert found.resumed_on("beta") == ("one",)
    assert found.may_use("one", "beta")
