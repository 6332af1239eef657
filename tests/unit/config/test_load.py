# SPDX-License-Identifier: GPL-2.0-only
"""Problems: each with its place, what is wrong and what would be right; all at once."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.config import InvalidConfiguration, PoolConfig, Problem, load
from latent_libvirt.errors import ConfigurationError

ProblemWith = Callable[[str, str], str]
Problems = Callable[[str | bytes], list[str]]
Load = Callable[[str | bytes], PoolConfig]


def test_a_good_file_is_loaded(load_text: Load, good: str) -> None:
    config = load_text(good)
    assert config.master.max_vms == 4
    assert list(config.hosts) == ["alpha", "beta"]
    assert config.labels["debian-12"].memory == 2**30


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "memory: 1GiB",
            "memroy: 1GiB",
            "19:5: labels.debian-12.memroy: unknown key; did you mean 'memory'?",
        ),
        (
            "memory: 1GiB",
            "colour: red",
            (
                "19:5: labels.debian-12.colour: unknown key; known keys: 'image', 'arch', 'vcpus', "
                "'memory', "
                "'disk', 'disks', 'cpu', 'machine', 'firmware', 'devices', "
                "'hugepages', 'cpu_pinning', "
                "'tpm', 'graphics', 'domain_xml', "
                "'max_vms', "
                "'reserve_for_children', 'drain', 'hosts', 'network', "
                "'connection', 'address', 'filter', 'start', "
                "'boot_timeout', 'attach_timeout', "
                "'shutdown', "
                "'shutdown_timeout', 'user', 'spares', 'spare_max_age', 'max_builds_per_vm', "
                "'idle_timeout', 'record_terminals', 'hold_on_failure', 'freeze', 'export', "
                "'max_held', 'max_lifetime', 'cancel_timeout', 'launch_attempts'"
            ),
        ),
        (
            "memory: 1GiB",
            "memory: 1024",
            "19:13: labels.debian-12.memory: the size 1024 has no unit; write 1024MiB or 1024GiB",
        ),
        (
            "memory: 1GiB",
            "memory: 512KiB",
            (
                "19:13: labels.debian-12.memory: 0.5MiB of memory is too little to boot; "
                "write at least 32MiB"
            ),
        ),
        (
            "memory: 1GiB",
            "boot_timeout: 90",
            "19:19: labels.debian-12.boot_timeout: the duration 90 has no unit; write 90s or 90m",
        ),
        (
            "memory: 1GiB",
            "boot_timeout: 0s",
            (
                "19:19: labels.debian-12.boot_timeout: 0s is no time to wait for; "
                "write more than 0s, and at most 24h"
            ),
        ),
        (
            "memory: 1GiB",
            "vcpus: two",
            (
                "19:12: labels.debian-12.vcpus: the text 'two' where a whole number belongs; "
                "write one, like 2"
            ),
        ),
        (
            "memory: 1GiB",
            "vcpus: 0",
            "19:12: labels.debian-12.vcpus: 0 is too small; write at least 1",
        ),
        (
            "memory: 1GiB",
            "vcpus: 1.5",
            (
                "19:12: labels.debian-12.vcpus: the number 1.5 where a whole number belongs; "
                "write one, like 2"
            ),
        ),
        (
            "memory: 1GiB",
            "vcpus: true",
            (
                "19:12: labels.debian-12.vcpus: the value true where a whole number belongs; "
                "write one, like 2"
            ),
        ),
        (
            "memory: 1GiB",
            "shutdown: gracefull",
            (
                "19:15: labels.debian-12.shutdown: 'gracefull' is not among the choices; "
                "did you mean 'graceful'?"
            ),
        ),
        (
            "memory: 1GiB",
            "spares: -1",
            "19:13: labels.debian-12.spares: -1 is too small; write at least 0",
        ),
        (
            "memory: 1GiB",
            "spares:",
            (
                "19:12: labels.debian-12.spares: nothing where a number of spares belongs; "
                "write one, like 2, or a section, like {count: 2}"
            ),
        ),
        (
            "memory: 1GiB",
            "devices: [{a: b}]",
            (
                "19:15: labels.debian-12.devices[0]: a mapping where text belongs; "
                "write it, like gpu"
            ),
        ),
        (
            "memory: 1GiB",
            "network: usr",
            (
                "19:14: labels.debian-12.network: 'usr' is not a kind of network; "
                "write `user`, `none`, `{network: NAME}`, `{bridge: NAME}` or `{allow: [...]}`"
            ),
        ),
        (
            "memory: 1GiB",
            "connection: tcp\n    network: none",
            (
                "20:14: labels.debian-12.network: without a network, a worker cannot connect to "
                "its master by TCP; remove `connection: tcp`, or give the label a network"
            ),
        ),
        (
            "memory: 1GiB",
            ("network: none\n    domain_xml: <devices><interface type='user'/></devices>"),
            (
                "20:17: labels.debian-12.domain_xml: a label without a network has a network "
                "card here; remove it, or give the label a network"
            ),
        ),
        (
            "memory: 1GiB",
            "network: {brigde: br0}",
            "19:15: labels.debian-12.network.brigde: unknown key; did you mean 'bridge'?",
        ),
        (
            "memory: 1GiB",
            "filter: clean-traffic",
            (
                "19:13: labels.debian-12.filter: 'clean-traffic' cannot filter QEMU's user-mode "
                "network; remove it, or name a libvirt network or a bridge as the label's `network`"
            ),
        ),
        (
            "memory: 1GiB",
            "address: 192.0.2.1:9989",
            (
                "19:14: labels.debian-12.address: '192.0.2.1:9989' is neither a host name nor an "
                "IP address; write only that, without a port: the worker port is known"
            ),
        ),
        (
            "memory: 1GiB",
            "network: {bridge: br0, network: default}",
            (
                "19:14: labels.debian-12.network: both a network and a bridge are named; "
                "keep one of them"
            ),
        ),
        (
            "memory: 1GiB",
            "user: Build Bot",
            (
                "19:11: labels.debian-12.user: 'Build Bot' is not a user's name on Linux; "
                "use one like 'worker'"
            ),
        ),
        (
            "    image: debian-12\n    memory",
            "    memory",
            "17:3: labels.debian-12.image: missing; add `image: debian-12`",
        ),
        (
            "image: pinned",
            "image: pined",
            "21:12: labels.large.image: there is no image 'pined'; did you mean 'pinned'?",
        ),
        (
            "image: pinned",
            "image: 12",
            "21:12: labels.large.image: the number 12 where text belongs; put it in quotes: '12'",
        ),
        (
            "hosts: [beta]",
            "hosts: [alpha, bta]",
            "22:20: labels.large.hosts[1]: there is no host 'bta'; did you mean 'beta'?",
        ),
        (
            "hosts: [beta]",
            "hosts: [beta, alpha, beta]",
            "22:26: labels.large.hosts[2]: 'beta' is there already; remove one of them",
        ),
        (
            "hosts: [beta]",
            "hosts: []",
            (
                "22:12: labels.large.hosts: the list is empty; "
                "name a host, or remove the key to allow all of them"
            ),
        ),
        (
            "hosts: [beta]",
            "hosts: beta",
            "22:12: labels.large.hosts: 'beta' is not a list; write [beta]",
        ),
        (
            "hosts: [beta]",
            "hosts: {beta: 1}",
            (
                "22:12: labels.large.hosts: a mapping where a list belongs; "
                "write one, like [alpha, beta]"
            ),
        ),
        (
            "  large:",
            "  Debian_12 Large:",
            (
                "20:3: labels.'Debian_12 Large': 'Debian_12 Large' is not a name: at most 40 small "
                "letters, digits and hyphens, not starting with a hyphen; use 'debian-12-large'"
            ),
        ),
        (
            "    max_vms: 1\n",
            "    image: pinned\n",
            "23:5: labels.large.image: 'image' appears twice, first in line 21; keep one of them",
        ),
        (
            "uri: qemu:///system",
            "uri: system:///",
            (
                "5:10: hosts.alpha.uri: 'system:///' has no driver that can be used here; use "
                "qemu, "
                "for example qemu:///system or qemu+ssh://user@host/system"
            ),
        ),
        (
            "uri: qemu:///system",
            "uri: ''",
            (
                "5:10: hosts.alpha.uri: '' is not a libvirt URI; write one, "
                "for example qemu:///system or qemu+ssh://user@host/system"
            ),
        ),
        (
            "uri: qemu:///system",
            "uri: qemu+shh://alpha/system",
            "5:10: hosts.alpha.uri: 'shh' is not a transport of libvirt; did you mean 'ssh'?",
        ),
        (
            "uri: qemu:///system",
            "uri: qemu+ssh://builder@beta/system",
            (
                "9:10: hosts.beta.uri: leads to the same libvirt as host 'alpha'; "
                "remove one, and give 'alpha' the slots of both"
            ),
        ),
        (
            "    slots: 4\n",
            "    slots: 4\n    address: 192.0.2.1:9989\n",
            (
                "7:14: hosts.alpha.address: '192.0.2.1:9989' is neither a host name nor an IP "
                "address; "
                "write only that, without a port: the worker port is known"
            ),
        ),
        (
            "max_vms: 4",
            "max_vms: 4\n  metrics: localhost:9177",
            (
                "3:12: master.metrics: 'localhost:9177' does not begin with an IP address of this "
                "machine; write it so, for example 127.0.0.1:9177, or '[::1]:9177' in quotes"
            ),
        ),
        (
            "max_vms: 4",
            "max_vms: 4\n  metrics: ':::9177'",
            (
                "3:12: master.metrics: ':::9177' does not begin with an IP address of this "
                "machine; write it so, for example 127.0.0.1:9177, or '[::1]:9177' in quotes"
            ),
        ),
        (
            "max_vms: 4",
            "max_vms: 4\n  metrics: 127.0.0.1:65536",
            (
                "3:12: master.metrics: '127.0.0.1:65536' does not end with a port; add it, "
                "for example 127.0.0.1:9177, or '[::1]:9177' in quotes"
            ),
        ),
        (
            "storage_pool: default",
            "storage_pool: /var/lib/libvirt/images",
            (
                "7:19: hosts.alpha.storage_pool: '/var/lib/libvirt/images' cannot be a name in "
                "libvirt; write it without '/'"
            ),
        ),
        (
            "digest: 3f9a0c52d1e7",
            "digest: 123456789012",
            (
                "15:13: images.pinned.digest: the number 123456789012 where text belongs; "
                "put it in quotes: '123456789012'"
            ),
        ),
        (
            "digest: 3f9a0c52d1e7",
            "digest: 3f9a",
            (
                "15:13: images.pinned.digest: '3f9a' is not a digest: 12 to 64 hexadecimal "
                "digits in "
                "small letters; copy it from `latent-libvirt image list`"
            ),
        ),
        (
            "    name: debian-12\n",
            "    volume: own.qcow2\n",
            (
                "15:13: images.pinned.digest: cannot stand beside `volume`: that is no published "
                "image; remove one of the two"
            ),
        ),
        (
            "max_vms: 4",
            "max_vms: -1",
            "2:12: master.max_vms: -1 is too small; write at least 0",
        ),
        (
            "max_vms: 4",
            "max_vms:",
            "2:11: master.max_vms: nothing where a whole number belongs; write one, like 12",
        ),
        (
            "max_vms: 4",
            "max_vms: 99999999999999999999",
            (
                "2:12: master.max_vms: the text '99999999999999999999' where a whole number "
                "belongs; "
                "write one, like 12"
            ),
        ),
        (
            "master:\n  max_vms: 4",
            "master: 4",
            "1:9: master: the number 4 where a mapping belongs; write {max_vms: ...}",
        ),
        (
            "  max_vms: 4",
            "  max_vms: 4\n  name: a-rather-long-name-of-a-master-in-a-pooll",
            (
                "3:9: master.name: 'a-rather-long-name-of-a-master-in-a-pooll' is not a name: "
                "at most "
                "40 small letters, digits and hyphens, not starting with a hyphen; "
                "use 'a-rather-long-name-of-a-master-in-a-pool'"
            ),
        ),
    ],
)
def test_a_problem_is_told_with_its_place_and_what_would_be_right(
    problem_with: ProblemWith, old: str, new: str, problem: str
) -> None:
    assert problem_with(old, new) == problem


def test_all_problems_are_told_at_once_in_the_order_of_the_file(problems_of: Problems) -> None:
    text = """\
labels:
  debian-12:
    image: debian-21
    memory: 512
    hosts: [alpa]
hosts:
  alpha:
    uri: qemu:///system
    slot: 4
    slot: 5
master: {max_vms: many}
extra: 1
"""
    assert [line.partition("; ")[0] for line in problems_of(text)] == [
        "3:12: labels.debian-12.image: there is no image 'debian-21'",
        "4:13: labels.debian-12.memory: the size 512 has no unit",
        "5:13: labels.debian-12.hosts[0]: there is no host 'alpa'",
        "7:3: hosts.alpha.slots: missing",
        "7:3: hosts.alpha.storage_pool: missing",
        "9:5: hosts.alpha.slot: unknown key",
        "10:5: hosts.alpha.slot: 'slot' appears twice, first in line 9",
        "11:19: master.max_vms: the text 'many' where a whole number belongs",
        "12:1: extra: unknown key",
    ]


@pytest.mark.parametrize("section", ["master", "hosts", "labels"])
def test_a_section_that_is_missing_is_shown_as_it_would_be(
    good: str, problems_of: Problems, section: str
) -> None:
    without = "".join(_sections(good, leave_out=section))
    missing = [line for line in problems_of(without) if "missing" in line]
    assert len(missing) == 1
    assert missing[0].startswith(f"1:1: {section}: missing; add `{section}: {{")


def _sections(text: str, *, leave_out: str) -> list[str]:
    kept, keep = [], True
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            keep = not line.startswith(leave_out)
        kept += [line] if keep else []
    return kept


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: nothing where a mapping belongs"),
        ("# nothing but a comment\n", "1:1: nothing where a mapping belongs"),
        ("just words", "1:1: the text 'just words' where a mapping belongs"),
        ("- a\n- b\n", "1:1: a list where a mapping belongs"),
        ("42", "1:1: the number 42 where a mapping belongs"),
    ],
)
def test_a_document_that_is_no_mapping_is_refused(
    problems_of: Problems, text: str, problem: str
) -> None:
    (line,) = problems_of(text)
    assert line.startswith(f"{problem}; write {{master: ...")


def test_a_missing_file_is_told_without_a_place(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    with pytest.raises(InvalidConfiguration) as refused:
        load(path)
    assert str(refused.value) == (
        f"{path}: cannot be read: No such file or directory; "
        "check the path, or write one with latent-libvirt init"
    )


@pytest.mark.parametrize("path", ["", ".", "no\0file", "\udcff"])
def test_a_path_that_is_no_file_is_told(path: str) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load(path)


def test_invalid_configuration_is_a_configuration_error_with_its_problems(
    good: str, load_text: Load
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_text(good.replace("slots: 4", "slots: x"))
    error = refused.value
    assert isinstance(error, InvalidConfiguration)
    assert error.brief == f"{error.path} cannot be used: 1 problem"
    (problem,) = error.problems
    assert problem == Problem(
        file=str(error.path),
        line=6,
        column=12,
        path="hosts.alpha.slots",
        what="the text 'x' where a whole number belongs",
        remedy="write one, like 8",
    )
    assert str(error) == str(problem)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("labels:\n  debian-12:\n", "labels:\n  debian-12:\n    sound: card\n", "known keys: "),
    ],
)
def test_no_far_fetched_guess_is_made(
    problem_with: Callable[[str, str], str], old: str, new: str, told: str
) -> None:
    problem = problem_with(old, new)

    assert told in problem
    assert "did you mean" not in problem


@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "0 0 31 2 *", "* * 31 4,6,9,11 *", "*/5 7-18 30-31 feb *"]
)
def test_a_spare_period_that_never_comes_is_refused(
    problem_with: Callable[[str, str], str], cron: str
) -> None:
    spares = f'    spares: {{periods: [{{when: "{cron}", count: 1}}]}}\n'

    problem = problem_with("    memory: 1GiB\n", spares)

    assert f"'{cron}' never comes: no such month has that day" in problem


@pytest.mark.parametrize("cron", ["0 0 29 2 *", "0 0 30 2 mon", "* * 31 * *", "0 0 * 2 5#5"])
def test_a_spare_period_that_comes_seldom_is_taken(load_text: Load, good: str, cron: str) -> None:
    spares = f'    spares: {{periods: [{{when: "{cron}", count: 1}}]}}\n'

    load_text(good.replace("    memory: 1GiB\n", spares))


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("qemu+tcp://beta/system", "qemu+tcp:// is neither encrypted nor authenticated"),
        ("qemu+tcp://192.0.2.1:16509/system", "qemu+tcp:// is neither encrypted"),
        ("qemu+tcp:///system", "qemu+tcp:// is neither encrypted"),
        ("qemu+tls://beta/system?no_verify=1", "anybody may pose as the host"),
        ("qemu+ssh://a@beta/system?no_tty=1&no_verify=1", "anybody may pose as the host"),
    ],
)
def test_a_connection_that_others_can_read_or_take_is_refused(
    problem_with: Callable[[str, str], str], uri: str, told: str
) -> None:
    assert told in problem_with("qemu+ssh://builder@beta/system", uri)


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+tcp://127.0.0.1/system",
        "qemu+tcp://localhost:16509/system",
        "qemu+tcp://[::1]/system",
        "qemu+tls://beta/system?no_verify=0",
        "qemu+ssh://beta/system?no_tty=1",
    ],
)
def test_a_tunnel_that_ends_on_this_machine_is_taken(load_text: Load, good: str, uri: str) -> None:
    load_text(good.replace("qemu+ssh://builder@beta/system", uri))


@pytest.mark.parametrize("kind", ["FIFO", "directory", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = {"FIFO": tmp_path / "fifo", "directory": tmp_path, "device": Path("/dev/null")}[kind]
    if kind == "FIFO":
        os.mkfifo(path)

    with pytest.raises(InvalidConfiguration, match=rf"cannot be read: .*{kind}"):
        load(path)


WRONG_BY_THE_MEGABYTE = {
    "unknown keys": "".join(f"key-{number}: {number}\n" for number in range(5_000)),
    "one key often": "a: 1\n" * 3_000,
    "aliases": "a: [" + "*b, " * 3_000 + "]\n",
    "one long key": f"{'k' * 300_000}: 1\n",
    "one long value": f"master: {{max_vms: {'9' * 300_000}}}\n",
    "a long list of hosts": f"labels: {{a: {{image: b, hosts: {'h' * 300_000}}}}}\n",
}


@pytest.mark.parametrize("kind", WRONG_BY_THE_MEGABYTE)
def test_what_is_told_of_a_large_wrong_file_is_bounded(tmp_path: Path, kind: str) -> None:
    """A master logs it at each save, and Buildbot shows each line as an error."""
    path = tmp_path / "pool.yaml"
    path.write_text(WRONG_BY_THE_MEGABYTE[kind][: 2**20])

    with pytest.raises(InvalidConfiguration) as caught:
        load(path)

    assert len(str(caught.value)) < 90_000
    assert pickle.loads(pickle.dumps(caught.value)).lines() == caught.value.lines()
    if kind == "unknown keys":
        assert caught.value.lines()[-1].endswith("more; is it the right file?")
        assert caught.value.untold > 4_000
