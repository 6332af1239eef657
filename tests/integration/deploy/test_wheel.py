# SPDX-License-Identifier: GPL-2.0-only
"""The built wheel in an empty virtual environment does what the README says under "Use it".

Commands and files are the README's, word for word, but for four things that a test cannot have. No
package is downloaded (``tests/support/built_wheel.py``). The image has been built before. The hosts
are private libvirtds, and their URIs replace those of the README. The workers' port is a free one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import built_wheel
import children
import lab as lab_module
from buildmaster import BuildMaster
from lab import Lab
from latent_libvirt.images.local import LocalImage
from private_files import write_secret

TIMEOUT = 300
"""Seconds that a command may take; reached only by a test that fails."""

HOSTS = ("alpha", "beta")
"""The hosts of the README."""

REST = """
from buildbot.plugins import schedulers, steps, util

c = BuildmasterConfig = {"buildbotNetUsageData": None}
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["check"])]
factory = util.BuildFactory([steps.ShellCommand(name="hello", command=["uname", "-n"])])
"""
"""What any master.cfg has: the README shows the part that is about VMs."""

WEB = """
c["www"] = {"port": f"tcp:{WEB_PORT}:interface=127.0.0.1", "plugins": {}}
c["buildbotURL"] = f"http://127.0.0.1:{WEB_PORT}/"
"""


@dataclass(frozen=True)
class Readme:
    """The section "Use it" of the README."""

    text: str

    def block(self, language: str) -> str:
        """Return the only block in that language."""
        (block,) = re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)
        return str(block)

    def commands(self) -> list[str]:
        """Return the commands to type, in their order."""
        blocks = re.findall(r"```console\n(.*?)```", self.text, re.DOTALL)
        return [line.removeprefix("$ ") for line in "".join(blocks).splitlines()]


@dataclass(frozen=True)
class Shell:
    """A shell in a directory, with the virtual environment that the README makes.

    :param programs: the directory of the environment's programs.
    """

    programs: Path
    home: Path
    directory: Path

    def run(
        self, command: str, *, status: int = 0, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run a command with more variables in its environment; return what it prints."""
        done = subprocess.run(
            [*children.WITH_US, "/bin/bash", "-euc", command],
            cwd=self.directory,
            env=self._environment() | dict(variables or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_STATE_HOME": str(self.home / "state"),
        }


class InstalledMaster(BuildMaster):
    """A master that the environment's own Buildbot creates and runs."""

    def __init__(self, shell: Shell, master_cfg: str) -> None:
        self._shell = shell
        self.buildbot = shell.programs / "buildbot"
        super().__init__(shell.directory, master_cfg)

    def _create(self) -> None:
        self._shell.run("buildbot create-master --relocatable --log-count=1 .")


@pytest.fixture(scope="module")
def readme(pytestconfig: pytest.Config) -> Readme:
    text = (pytestconfig.rootpath / "README.md").read_text()
    return Readme(text.partition("## Use it\n")[2].partition("\n## ")[0])


@pytest.fixture(scope="module")
def programs(
    readme: Readme, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Path:
    """Give the programs of an environment that the README's first commands have made."""
    directory = tmp_path_factory.mktemp("environment")
    programs = directory / "venv/bin"
    make_environment, install, *_ = readme.commands()
    assert install == "pip install 'latent-libvirt[www]'"
    shell = Shell(Path(sys.executable).parent, directory, directory)  # it has this python3
    shell.run(make_environment)
    built = built_wheel.build(pytestconfig.rootpath, directory)
    built_wheel.install(built, programs.parent, extra="www")
    return programs


@pytest.fixture
def shell(programs: Path, tmp_path: Path) -> Shell:
    return Shell(programs, tmp_path / "home", tmp_path)


def test_an_image_build_names_all_programs_that_are_missing_at_once(shell: Shell) -> None:
    command = f"PATH={shell.programs} latent-libvirt image build debian-12"
    said = shell.run(command, status=1)

    assert "mmdebstrap, " in said
    assert re.search(r"Install them: apt-get install mmdebstrap \S+", said)


def test_the_readmes_files_are_good_as_they_stand(shell: Shell, readme: Readme) -> None:
    (shell.directory / "pool.yaml").write_text(readme.block("yaml"))
    (shell.directory / "master.cfg").write_text(REST + readme.block("python"))

    assert "pool.yaml is good" in shell.run("latent-libvirt check pool.yaml")
    assert "Config file is good!" in shell.run("buildbot checkconfig master.cfg")


def test_the_examples_of_one_master_are_good(shell: Shell) -> None:
    shell.run("latent-libvirt examples examples")
    for pool in (shell.directory / "examples").rglob("pool*.yaml"):
        shell.run(f"latent-libvirt check {pool}")

    for name in ("single", "demo"):
        directory = shell.directory / "examples" / name
        write_secret(directory / "web.password", "a password")
        there = replace(shell, directory=directory)
        assert "Config file is good!" in there.run("buildbot checkconfig master.cfg")


@pytest.mark.parametrize("master", ["scheduler", "interface"])
def test_the_examples_of_several_masters_are_good(shell: Shell, master: str) -> None:
    """With what the extra ``multimaster`` brings, on top of the README's ``www``."""
    shell.run("latent-libvirt examples examples")
    directory = shell.directory / "examples/multimaster"
    more = shell.directory / "more"
    more.mkdir()
    (site,) = shell.programs.parent.glob("lib/python*/site-packages")
    built_wheel.link_dependencies(site, more, extra="multimaster")

    said = replace(shell, directory=directory).run(
        f"buildbot checkconfig {master}.cfg",
        variables={"PYTHONPATH": str(more)} | _ci_env(directory),
    )

    assert "Config file is good!" in said


def _ci_env(directory: Path) -> dict[str, str]:
    """Return the environment that ``ci.env`` describes, with secrets that are there."""
    lines = (directory / "ci.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name in ("CI_ROUTER_SECRET_FILE", "CI_WEB_PASSWORD_FILE"):
        values[name] = str(directory / Path(values[name]).name)
        write_secret(Path(values[name]), 32 * "s")
    return values


@pytest.fixture
def hosts(tmp_path: Path, cache: Path) -> Iterator[dict[str, Lab]]:
    """Give a real libvirtd for each host of the README."""
    with (
        lab_module.running(tmp_path / "alpha", cache=cache) as alpha,
        lab_module.running(tmp_path / "beta", cache=cache) as beta,
    ):
        yield dict(zip(HOSTS, (alpha, beta), strict=True))


@pytest.fixture
def with_image(shell: Shell, cache: Path, image: LocalImage) -> LocalImage:
    """Let the user have built the image before: the test's machine may have no network."""
    images = shell.home / "cache/latent-libvirt/images"
    images.parent.mkdir(parents=True)
    images.symlink_to(cache / "images")
    return image


def at(hosts: Mapping[str, Lab], text: str) -> str:
    """Return *text* of the README with the URIs of the private hosts."""
    for name, lab in hosts.items():
        text = text.replace(f"qemu+ssh://buildbot@{name}/system", shlex.quote(lab.uri))
    return text


def test_what_init_writes_is_good(shell: Shell, hosts: Mapping[str, Lab]) -> None:
    uri = shlex.quote(hosts["alpha"].uri)
    assert "pool.yaml is written" in shell.run(f"latent-libvirt init --uri {uri}")
    assert "pool.yaml is good" in shell.run("latent-libvirt check")


def test_use_it_leads_to_a_build_in_a_vm(
    shell: Shell, readme: Readme, hosts: Mapping[str, Lab], with_image: LocalImage
) -> None:
    there = replace(shell, directory=shell.directory / "master")
    master = InstalledMaster(there, "")
    port = str(master.worker_port)
    (there.directory / "pool.yaml").write_text(at(hosts, readme.block("yaml")))
    master.configure(REST + readme.block("python").replace("9989", port) + WEB)

    _make_environment, _install, build, publish, check, doctor = readme.commands()
    assert with_image.description.digest[:12] in there.run(build)
    for name in HOSTS:  # "publish it to each host"
        there.run(at(hosts, publish.replace("alpha", name)))
    assert "pool.yaml is good" in there.run(check)
    assert "✓ VM of debian-12" in there.run(doctor)

    master.start()
    try:
        job = master.force()
        assert master.wait_for_result(job) == "SUCCESS"
        (ended,) = master.builds(job)
        assert ended["properties"]["workername"][0].startswith("debian-12-")
        assert "debian-12" in there.run("latent-libvirt status")
    finally:
        master.stop()
