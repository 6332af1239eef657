# SPDX-License-Identifier: GPL-2.0-only
"""A port for workers that speaks TLS: real guests connect to their master, and to nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from buildmaster import wait_for
from lab import Lab
from pools import MakeMaster
from ready import RESUMED

WORK = """
factory = util.BuildFactory([
    steps.ShellCommand(command=["sh", "-c", "seq 100000 | tail -n 20000"], haltOnFailure=True),
])
"""

PORT = """
BuildmasterConfig["protocols"]["pb"]["port"] = (
    f"ssl:{{WORKER_PORT}}:interface=127.0.0.1:privateKey={directory}/key.pem"
    ":certKey={directory}/cert.pem"
)
"""

ANOTHER_CERTIFICATE = """
from latent_libvirt.master.workers import needs
needs.certificate_of = lambda port: open({path!r}).read()
"""
"""What guests are told when the file was changed after the master began to listen, before a release
that remembers: the product cannot be brought to it."""


@pytest.fixture
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with a master's key and certificate, and somebody else's certificate."""
    directory = tmp_path_factory.mktemp("pems")
    leaf = trustme.CA().issue_cert("not-what-guests-connect-to.example.org")
    leaf.private_key_pem.write_to_path(directory / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    trustme.CA().issue_cert("other").cert_chain_pems[0].write_to_path(directory / "other.pem")
    return directory


def test_guests_build_by_tls(lab: Lab, make_master: MakeMaster, pems: Path) -> None:
    master = make_master(WORK, more=PORT.format(directory=pems))

    assert master.wait_for_result(master.force()) == "SUCCESS"
    wait_for("everything to be freed", lambda: not lab.leftovers())


def test_guests_that_were_resumed_build_by_tls(
    ready_lab: Lab, make_ready_master: MakeMaster, pems: Path
) -> None:
    master = make_ready_master(WORK, more=PORT.format(directory=pems))

    assert master.wait_for_result(master.force()) == "SUCCESS"
    wait_for("everything to be freed", lambda: not ready_lab.leftovers())


def test_a_guest_that_meets_another_certificate_says_so_and_sends_no_password(
    make_ready_master: MakeMaster, pems: Path
) -> None:
    more = PORT.format(directory=pems) + ANOTHER_CERTIFICATE.format(path=str(pems / "other.pem"))
    master = make_ready_master(WORK, settings=replace(RESUMED, launch_attempts=1), more=more)

    assert master.wait_for_result(master.force()) == "EXCEPTION"

    assert "has another certificate" in master.log
    assert "did not attach within" not in master.log


NO_TCP = """
BuildmasterConfig["protocols"]["pb"]["port"] = "unix:workers"
"""


def test_a_job_whose_guest_could_not_connect_to_its_master_ends_before_there_is_a_guest(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(WORK, more=NO_TCP)
    with lab.watching() as samples:
        request = master.force()
        assert master.wait_for_result(request) == "EXCEPTION"

    (build,) = master.builds(request)
    assert "workers in VMs cannot connect to" in build["state_string"]
    assert samples
    assert not any(sample.domains for sample in samples)
