# SPDX-License-Identifier: GPL-2.0-only
"""How findings are shown, in whatever order they come."""

from __future__ import annotations

import contextlib
import io
import json

import click
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.cli.views.doctor_view import (
    Checklist,
    Document,
    Text,
)
from latent_libvirt.doctor.finding import Finding, failed, fine, warning
from latent_libvirt.errors import HostError

HOSTS = ("alpha", "beta", "gamma")
URIS = {host: f"qemu+ssh://{host}/system" for host in HOSTS}

WRONG = failed("network", HostError("no such network", details="a\nb"), resolution="Make it.")
DOUBTFUL = warning("KVM", "emulated", resolution="Enable it.")


def shown(checklist: Checklist, *findings: tuple[str | None, Finding]) -> tuple[str, int]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        checklist.expect(URIS)
        for host, finding in findings:
            checklist.add(host, finding)
        for host in HOSTS:
            checklist.done(host)
        status = checklist.finish()
    return click.unstyle(printed.getvalue()), status


def test_each_finding_is_a_line_with_why_and_what_to_do_below_it() -> None:
    text, status = shown(Text(), ("alpha", fine("reachable", "yes")), ("alpha", WRONG))
    assert text.startswith("""
alpha (qemu+ssh://alpha/system)
  ✓ reachable: yes
  ✗ network: no such network
      a
      b
    → Make it.

beta""")
    assert text.endswith("\n1 fine, 1 failed.\n")
    assert status == 1


def test_findings_of_no_host_stand_before_the_heading_of_the_first() -> None:
    text, _ = shown(Text(), (None, fine("port", "open")), ("alpha", fine("reachable", "yes")))

    assert text.startswith("✓ port: open\n\nalpha (qemu+ssh://alpha/system)\n  ✓ reachable: yes\n")


def test_a_warning_is_no_failure() -> None:
    text, status = shown(Text(), ("alpha", DOUBTFUL))
    assert "  ! KVM: emulated\n    → Enable it.\n" in text
    assert status == 0


def test_a_program_gets_one_document() -> None:
    text, status = shown(
        Document("pool.yaml"), (None, fine("configuration", "good")), ("alpha", WRONG)
    )
    assert status == 1
    document = json.loads(text)
    assert (document["file"], document["ok"]) == ("pool.yaml", False)
    assert document["findings"][1] == {
        "host": "alpha",
        "check": "network",
        "status": "failed",
        "brief": "no such network",
        "details": "a\nb",
        "resolution": "Make it.",
    }


@given(st.lists(st.sampled_from(HOSTS), max_size=12), st.permutations(HOSTS))
def test_hosts_that_are_examined_at_once_are_shown_one_after_the_other(
    order: list[str], ends: list[str]
) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        checklist = Text()
        checklist.expect(URIS)
        for number, host in enumerate(order):
            checklist.add(host, fine(host, str(number)))
        for host in ends:
            checklist.add(host, fine(host, "last"))
            checklist.done(host)
        checklist.finish()
    lines = click.unstyle(printed.getvalue()).splitlines()
    expected = []
    for host in HOSTS:
        expected += ["", f"{host} ({URIS[host]})"]
        expected += [f"  ✓ {host}: {n}" for n, each in enumerate(order) if each == host]
        expected += [f"  ✓ {host}: last"]
    assert lines[:-2] == expected


def test_what_a_host_wrote_does_not_command_the_terminal() -> None:
    hostile = failed("x\x1b[2J", HostError("a\x9bb", details="c\nd\u202e"), resolution="e\tf\x07")

    text, _ = shown(Text(), (None, hostile))

    assert text.startswith(
        "✗ x\\x1b[2J: a\\x9bb\n    c\n    d\\u202e\n  → e\tf\\x07\n".replace("    ", "    ")
    )
