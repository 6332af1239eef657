# SPDX-License-Identifier: GPL-2.0-only
"""A worker's shell command without a process: it says lines, takes its time, and ends.

What the master receives is what a real command sends: a header, output in pieces, an exit status.
"""

from __future__ import annotations

import json
from typing import Any, Final

from buildbot_worker.commands import registry
from buildbot_worker.commands.base import Command
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from latent_libvirt.stress.simulation.work import Work

reactor: Any = _reactor

PIECE: Final = 0.5
"""Seconds between two pieces of output of a command that takes longer."""

_ENVIRONMENT: Final = "".join(
    f"  {name}=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n" for name in "ABCDEFGHIJ"
)


class SimulatedCommand(Command):
    """A command like ``["simulate", JSON]`` with the members of :class:`Work`."""

    def start(self) -> Deferred[None]:
        """Begin; return what fires at the end."""
        work = Work(**json.loads(self.args["command"][1]))
        self._done = Deferred.fromCoroutine(self._run(work)).addErrback(_is_interrupted)
        return self._done

    async def _run(self, work: Work) -> None:
        header = f"simulate\n in dir {self.args['workdir']}\n environment:\n{_ENVIRONMENT}"
        self.sendStatus([("header", header)])
        due = reactor.seconds()  # a timer that is late does not make the next one late
        for piece in work.pieces(PIECE):
            self.sendStatus([("stdout", piece.text)])
            due += piece.seconds
            if due > reactor.seconds():
                await deferLater(reactor, due - reactor.seconds())
        self.sendStatus([("header", f"elapsed={work.seconds}\n"), ("rc", work.exit_status)])

    def interrupt(self) -> None:
        """End at once."""
        self._done.cancel()


def _is_interrupted(failure: Failure) -> None:
    failure.trap(CancelledError)


def install() -> None:
    """Let all workers of this process run simulated commands."""
    registry.commandRegistry["shell"] = SimulatedCommand
