# SPDX-License-Identifier: GPL-2.0-only
"""Canaries of a pool: which version of its image each VM takes, and what becomes of it.

Only images with `canary` are looked at. The rule is in ``rule.py``, the state of an image in
``rollout.py``. It outlives the master in what the environment remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import GuestError
from latent_libvirt.pool.records.rollout.rollout import Rollout, Share

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.errors import LatentLibvirtError
    from latent_libvirt.host.volumes.base_image import BaseImage
    from latent_libvirt.pool.events import VmEvents
    from latent_libvirt.pool.records.rollout.rollout import Kind
    from latent_libvirt.pool.vm import VM

log = Logger()


class RolloutMemory(Protocol):
    """What remembers roll-outs from one master process to the next."""

    async def load_rollout(self, image: str) -> Mapping[str, Any] | None:
        """Return what was saved of that image, or ``None`` if nothing was."""

    async def save_rollout(self, image: str, values: Mapping[str, Any]) -> None:
        """Save it."""


@dataclass(frozen=True)
class Choice:
    """Which version of its image a VM takes.

    :param version: a digest, where it is published, empty for the newest.
    :param is_trial: whether that is the version on trial.
    """

    version: str = ""
    is_trial: bool = False


NEWEST: Final = Choice()
"""What VMs take of an image without `canary`."""


class Canaries:
    """The roll-outs of a pool.

    :param config: returns the pool's configuration as it is now.
    :param ended: called when a trial has ended: VMs that wait may have the wrong version.
    """

    def __init__(
        self,
        config: Callable[[], PoolConfig],
        *,
        memory: RolloutMemory,
        events: VmEvents,
        ended: Callable[[], None],
    ) -> None:
        self._config = config
        self._ended = ended
        self._memory = memory
        self._events = events
        self._rollouts: dict[str, Rollout] = {}
        self._shares: defaultdict[str, Share] = defaultdict(Share)

    def choose(self, label: str, *, may_try: bool = True) -> Choice:
        """Return which version the next VM of *label* takes.

        :param may_try: whether it may be the one on trial.
        """
        image = self._image(label)
        rollout = None if image is None else self._rollouts.get(str(image.name))
        if image is None or rollout is None:
            return NEWEST
        tries = may_try and bool(rollout.candidate)
        if tries and self._shares[label].takes_next(image.canary or 0.0):
            return Choice(rollout.candidate, is_trial=True)
        return Choice(rollout.stable)

    def stable(self, label: str) -> str:
        """Return the version in use by VMs of *label*, empty for the newest."""
        image = self._image(label)
        rollout = None if image is None else self._rollouts.get(str(image.name))
        return "" if rollout is None else rollout.stable

    def versions(
        self, label: str, newest: str, *, lacks: str = ""
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return the versions in use by VMs of *label* on a host, and those on trial.

        :param newest: the newest version there, which VMs take if the host lacks the one in use.
        :param lacks: a version that the host does not have.
        """
        image = self._image(label)
        rollout = None if image is None else self._rollouts.get(str(image.name))
        if rollout is None or rollout.stable in ("", lacks):
            return frozenset({newest}), frozenset()
        on_trial = frozenset({rollout.candidate} - {""})
        in_use = {rollout.stable, newest} - on_trial - set(rollout.withdrawn)
        return frozenset(in_use), on_trial

    def status(self, label: str) -> str:
        """Return what an operator should know of the image of *label*, empty if nothing."""
        image = self._image(label)
        rollout = None if image is None else self._rollouts.get(str(image.name))
        said = "" if rollout is None else rollout.status
        return f"image {image.name}: {said}" if image is not None and said else ""

    async def load(self) -> None:
        """Read what an earlier master process has saved."""
        for name in self._images():
            if name not in self._rollouts:
                self._rollouts[name] = Rollout.from_plain(await self._memory.load_rollout(name))

    def saw(self, label: str, newest: BaseImage) -> None:
        """Note the newest version of the image of *label* on a host."""
        image = self._image(label)
        if image is None or image.name not in self._rollouts:
            return
        name = str(image.name)
        found = self._rollouts[name]
        self._use(name, found.saw(newest.digest, since=newest.since, is_chosen=newest.is_chosen))

    def note_start(self, vm: VM, error: LatentLibvirtError | None = None) -> None:
        """Note that *vm* came up, or did not.

        Only what the guest did counts: a host that fails says nothing of an image.
        """
        if error is None or isinstance(error, GuestError):
            self._note("starts", vm, good=error is None)

    def note_build(self, vm: VM, *, failed: bool) -> None:
        """Note how a build in *vm* ended."""
        self._note("builds", vm, good=not failed)

    def _note(self, kind: Kind, vm: VM, *, good: bool) -> None:
        image, version = self._image(vm.allocation.label), vm.machine.image_digest
        if image is None or not version or vm.is_ended_by_operator:
            return
        name = str(image.name)
        self._use(name, self._rollouts.get(name, Rollout()).noted(kind, version, good=good))

    def _use(self, name: str, rollout: Rollout) -> None:
        """Go on with *rollout*, remember it, and say what has changed."""
        before = self._rollouts.get(name, Rollout())
        if rollout == before:
            return
        self._rollouts[name] = rollout
        saving = self._memory.save_rollout(name, rollout.to_plain())
        in_background(saving, f"the roll-out of image {name} cannot be saved")
        if rollout.candidate and rollout.candidate != before.candidate:
            log.info("image {name}: {said}", name=name, said=rollout.status)
        if before.candidate and not rollout.candidate:
            self._say_end(name, rollout, accepted=rollout.stable == before.candidate)

    def _say_end(self, name: str, rollout: Rollout, *, accepted: bool) -> None:
        said = rollout.said or "an operator has chosen a version"
        (log.info if accepted else log.warn)("image {name}: {said}", name=name, said=said)
        self._events.trial_ended(image=name, accepted=accepted)
        self._ended()

    def _images(self) -> dict[str, ImageConfig]:
        """Return the images with a canary that labels use, by the names they are published as."""
        found = (self._image(label) for label in self._config().labels)
        return {str(image.name): image for image in found if image is not None}

    def _image(self, label: str) -> ImageConfig | None:
        """Return the image of *label*, if it has a canary."""
        config = self._config()
        if label not in config.labels:
            return None
        image = config.image_for(config.labels[label])
        return image if image.canary else None
