# SPDX-License-Identifier: GPL-2.0-only
"""Signatures of images, by the real ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fake_images import fake_image
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.description import Description
from latent_libvirt.images.signing import is_signed, sign, statement
from signers import new_signer


@pytest.fixture
def description(tmp_path: Path) -> Description:
    return fake_image(tmp_path / "images").description


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_an_image_is_signed_by_its_key_and_by_no_other(
    description: Description, tmp_path: Path, kind: str
) -> None:
    ours, other = new_signer(tmp_path, kind=kind), new_signer(tmp_path, name="other")

    signed = sign(description, ours.file)

    assert is_signed(signed, [ours.public])
    assert is_signed(signed, [other.public, ours.public])
    assert not is_signed(signed, [other.public])
    assert not is_signed(description, [ours.public])
    assert Description.from_json(signed.to_json(), source="it") == signed


def test_a_signature_is_for_one_name_and_one_digest(
    description: Description, tmp_path: Path
) -> None:
    key = new_signer(tmp_path)
    signed = sign(description, key.file)

    for change in ({"name": "other"}, {"digest": "0" * 64}):
        assert not is_signed(signed.model_copy(update=change), [key.public])


def test_a_signature_for_something_else_is_none(description: Description, tmp_path: Path) -> None:
    key = new_signer(tmp_path)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key.file)]
    made = subprocess.run(command, input=statement(description), capture_output=True, check=True)

    foreign = description.model_copy(update={"signature": made.stdout.decode()})

    assert not is_signed(foreign, [key.public])


def test_a_key_that_cannot_sign_is_named(description: Description, tmp_path: Path) -> None:
    (tmp_path / "no-key").write_text("hello")

    with pytest.raises(ConfigurationError, match=r"does not sign with .*no-key"):
        sign(description, tmp_path / "no-key")


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN SSH SIGNATURE-----\n"])
def test_what_is_no_signature_describes_no_image(description: Description, text: str) -> None:
    damaged = description.model_copy(update={"signature": text}).to_json()

    with pytest.raises(ConfigurationError, match="does not describe an image"):
        Description.from_json(damaged, source="it")
