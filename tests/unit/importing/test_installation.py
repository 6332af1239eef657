# SPDX-License-Identifier: GPL-2.0-only
"""The installation's verdict on a guest, from its console and its end.

The host and the machine are fakes, for what is decided here needs neither.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.images.progress import Reporter
from latent_libvirt.importing.installation import _GRACE, _TYPE_AGAIN, Installation
from latent_libvirt.importing.marks import Marks

TIMEOUT = 600.0


class Booted:
    """An installation whose guest is up."""

    def __init__(self, typed: bytes = b"") -> None:
        self.clock = Clock()
        self.clock.callFromThread = self._call  # type: ignore[attr-defined]
        self.guest = Guest("import", reactor=self.clock)
        host: Any = SimpleNamespace(reactor=self.clock)
        self.written: list[bytes] = []
        self.waiting: Deferred[None] = Deferred()
        machine: Any = SimpleNamespace(
            guest=self.guest,
            until_waiting=lambda _timeout: self.waiting,
            write_to_console=self._write,
        )
        marks = Marks("M", Reporter())
        installation = Installation(host, marks=marks, timeout=TIMEOUT, typed=typed)
        self.over = Deferred.fromCoroutine(installation._until_off(machine))

    def _call(self, function: Any, *arguments: Any) -> None:
        self.clock.callLater(0, function, *arguments)

    async def _write(self, data: bytes) -> None:
        self.written.append(data)

    def says(self, text: str) -> None:
        self.guest.console.received(text.encode())
        self.clock.advance(0)

    def powers_off(self) -> None:
        self.guest.ended("it has shut down")
        self.clock.advance(1)

    def error(self) -> GuestError:
        errors: list[Any] = []
        self.over.addErrback(lambda failure: errors.append(failure.value))
        (error,) = errors
        assert isinstance(error, GuestError)
        return error


def test_a_guest_that_says_that_it_is_done_and_powers_off_is_a_success() -> None:
    booted = Booted()
    booted.says("M begun\nM stage copying\nM done\n")
    booted.powers_off()

    assert booted.over.called
    booted.over.addErrback(lambda failure: pytest.fail(str(failure.value)))


def test_the_reason_of_a_guest_that_gives_up_is_the_errors() -> None:
    booted = Booted()
    booted.says("M begun\nM failed it has no Python 3.8 to 3.13: Python 3.6.8\n")
    booted.powers_off()

    error = booted.error()
    assert "it has no Python 3.8 to 3.13: Python 3.6.8" in error.brief
    assert "Python 3.6.8" in str(error.details)
    assert "bring-your-own-image" in str(error.resolution)


def test_what_fails_of_the_operators_own_is_not_put_down_to_the_image() -> None:
    booted = Booted()
    booted.says("M begun\nM stage running your script\nM failed your script ended with status 3\n")
    booted.powers_off()

    error = booted.error()
    assert "your script ended with status 3" in error.brief
    assert "Change what you asked for" in str(error.resolution)


def test_a_guest_that_powers_off_in_the_middle_is_a_failure_with_its_stage() -> None:
    booted = Booted()
    booted.says("M begun\nM stage copying the launcher\n")
    booted.powers_off()

    assert "while it was copying the launcher" in booted.error().brief


def test_a_guest_that_powers_off_without_a_word_had_no_cloud_init() -> None:
    booted = Booted()
    booted.says("No bootable device.\n")
    booted.powers_off()

    error = booted.error()
    assert "cloud-init did not run" in error.brief
    assert "No bootable device." in str(error.details)


def test_a_prompt_without_a_sign_of_cloud_init_ends_the_wait_soon() -> None:
    booted = Booted()
    booted.says("localhost login: ")
    booted.clock.advance(_GRACE - 1)
    assert not booted.over.called
    booted.clock.advance(1)

    assert "cloud-init did not run in the guest: it asks for a login" in booted.error().brief


def test_a_prompt_before_a_slow_cloud_init_is_no_failure() -> None:
    booted = Booted()
    booted.says("localhost login: ")
    booted.clock.advance(_GRACE - 1)
    booted.says("\nM begun\n")
    booted.clock.advance(_GRACE)

    assert not booted.over.called
    booted.powers_off()
    booted.error()


@pytest.mark.parametrize(
    ("console", "brief", "advice"),
    [
        ("booting\n", "cloud-init did not run in the guest within 600 s", "--timeout"),
        ("M begun\nM stage trying\n", "took longer than 600 s", "Raise --timeout."),
    ],
)
def test_a_guest_that_takes_too_long_is_named_with_what_it_did(
    console: str, brief: str, advice: str
) -> None:
    booted = Booted()
    booted.says(console)
    booted.clock.advance(TIMEOUT)

    error = booted.error()
    assert brief in error.brief
    assert advice in str(error.resolution)


def test_the_command_is_typed_once_the_launcher_waits_and_until_it_has_begun() -> None:
    booted = Booted(b"run\n")
    booted.says("localhost login: ")
    booted.clock.advance(_GRACE + 1)  # which is no sign that cloud-init is missing
    assert booted.written == []
    booted.waiting.callback(None)
    booted.clock.advance(_TYPE_AGAIN)
    assert booted.written == [b"run\n"] * 2
    booted.says("\nM begun\nM done\n")
    booted.clock.advance(_TYPE_AGAIN)
    booted.powers_off()

    assert booted.written == [b"run\n"] * 2
    booted.over.addErrback(lambda failure: pytest.fail(str(failure.value)))


def test_a_base_that_only_needs_longer_is_not_to_blame() -> None:
    booted = Booted(b"run\n")
    booted.waiting.errback(GuestError("its launcher said nothing in 600 s"))
    booted.clock.advance(0)

    error = booted.error()
    assert "nothing could be done in a VM of the base" in error.brief
    assert str(error.resolution).startswith("If the console shows that the guest only needs longer")
    assert "raise --timeout" in str(error.resolution)


def test_a_base_whose_console_has_no_shell_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latent_libvirt.importing.installation._SHELL", -1.0)
    booted = Booted(b"run\n")
    booted.waiting.callback(None)

    error = booted.error()
    assert "no shell answers on its serial console" in error.brief
    assert "shell of root" in str(error.resolution)


def test_a_base_whose_launcher_does_not_wait_is_named() -> None:
    booted = Booted(b"run\n")
    booted.waiting.errback(GuestError("the launcher failed"))

    error = booted.error()
    assert "nothing could be done in a VM of the base: the launcher failed" in error.brief


def test_a_firmware_that_finds_no_boot_loader_ends_it_at_once() -> None:
    booted = Booted()
    booted.says("BdsDxe: No bootable option or device was found.\r\n")
    booted.clock.advance(1)

    error = booted.error()
    assert "UEFI finds no boot loader for x86-64 on the disk" in error.brief
    assert "x86-64 (amd64)" in str(error.resolution)
