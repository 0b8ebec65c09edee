"""Whose turn it is to land: work of several tasks comes onto one branch one by one, each proven on what came before.

Without a turn nothing wrong can land, for the branch moves by compare-and-swap; but whoever is overtaken has to prove
its work again, and might be overtaken for ever. All projects that work for one repository share one queue.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiframe.app.attempts.agent_run import Stop, beat
from aiframe.app.attempts.origin import find_origin
from aiframe.app.project.site import Site
from aiframe.core.errors import StepError
from aiframe.core.landing import Ticket, landing_order
from aiframe.process import now
from aiframe.workspaces.git import Repository
from aiframe.workspaces.tickets import HeldTicket, draw_ticket, drop_turn, give_back, open_turn, take_turn, waiting

_POLL_S = 0.1
_BEAT_S = 30.0


class OthersFirst(StepError):
    """What is done by one after the other was not free for as long as the step had time: a later step does it."""


class TurnAwaited(OthersFirst):
    """Others were before it in the queue for as long as the step had time: the proven work lands in a later step."""


class TimeAwaited(OthersFirst):
    """Proven work has to be checked once more, and the step has no time for that: a later step does it."""

    def __init__(self, task_id: str) -> None:
        said = f"{task_id} is proven, and its step had no time left to check it on what landed meanwhile"
        cure = "the next step checks it, and no agent is asked for it; `aiframe set timeout_sec=SECONDS` gives more"
        super().__init__(said, hint=cure)


class LandingTurn:
    """Taken at most once in a block, and given back at its end, however that comes."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._ticket: HeldTicket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticket is not None:
            give_back(self._ticket)
            self._ticket = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take(
        self, site: Site, ticket: Ticket, stop: Stop, patience_s: float, before_waiting: Callable[[], object]
    ) -> None:
        """Wait until *ticket* is the first of all that wait to land in the repository that *site* works for.

        *before_waiting* is called once where it has to wait. Goes on without a turn where the step is to end. Raises
        TurnAwaited where it does not come within *patience_s* seconds, StepError where the queue cannot be written.
        """
        if self._descriptor is not None:
            return
        host, _ = find_origin(site)
        self._descriptor = open_turn(host)
        self._ticket = draw_ticket(host, ticket)
        if _took(host, ticket, self._descriptor):
            return
        before_waiting()
        give_up, next_beat = time.monotonic() + patience_s, 0.0
        while not _took(host, ticket, self._descriptor):
            if stop():
                return
            if time.monotonic() >= give_up:
                said = (
                    f"{ticket.task_id} is proven, and its turn to land did not come within {max(0.0, patience_s):.0f} s"
                )
                raise TurnAwaited(said, hint="nothing to do: it lands in a later step, and no agent is asked for it")
            if time.monotonic() >= next_beat:
                beat(site)
                next_beat = time.monotonic() + _BEAT_S
            time.sleep(_POLL_S)


def _took(host: Repository, ticket: Ticket, descriptor: int) -> bool:
    """Whether the turn is taken now: nobody has it, and none that waits comes before."""
    if not _is_first(host, ticket) or not take_turn(descriptor):
        return False
    if _is_first(host, ticket):
        return True
    drop_turn(descriptor)  # a better one has come in between
    return False


def _is_first(host: Repository, ticket: Ticket) -> bool:
    order = landing_order(waiting(host), now().wall)
    return not order or order[0].run_id == ticket.run_id
