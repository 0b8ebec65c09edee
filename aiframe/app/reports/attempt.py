"""One run as it is told afterwards: what was tried, and what came of it.

What nobody has told is None, which is not the same as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, to_builtins

from aiframe.core.model import FailureKind

DONE, HELD, RUNNING, UNKNOWN = "done", "held", "running", "unknown"
"""How a run may stand beside the kinds of failure: UNKNOWN is one that left neither a result nor a line of its end."""
GRAVITY = {kind.value: rank for rank, kind in enumerate(FailureKind)}
"""How grave each kind of failure is; 0 is the gravest."""


class GateRun(Struct, frozen=True):
    """A check that aiframe ran; None for what its result does not tell. *log* is relative to the project."""

    name: str
    command: str
    exit_code: int | None = None
    seconds: float | None = None
    log: str = ""


class Attempt(Struct, frozen=True):
    """One run. *outcome* is "done", "held", "handed", "running", "unknown" or the kind of failure that decided.

    *started* is in epoch seconds; *seconds*, *tokens* (read and written) and *cost_usd* are None where nobody told
    them. *commit* is what was kept of it. *unverified* are the checks of a task that nobody has made,
    *unasked* the questions of its agent that reached nobody. *job*: it is one of the jobs that a run has worked off.
    """

    run_id: str
    role: str = ""
    task: str = ""
    attempt: int = 0
    agent: str = ""
    model: str = ""
    outcome: str = UNKNOWN
    message: str = ""
    started: float | None = None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    commit: str = ""
    gates: tuple[GateRun, ...] = ()
    unverified: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    job: bool = False

    @property
    def ended(self) -> float | None:
        """When it was over, in epoch seconds."""
        return None if self.started is None or self.seconds is None else self.started + self.seconds

    @property
    def failed(self) -> bool:
        """Whether it came to a bad end."""
        return self.outcome in GRAVITY

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can carry."""
        return dict(to_builtins(self))


class Totals(Struct, frozen=True):
    """What *runs* runs took. The sums hold what was told, *untold_tokens* and *unpriced* count the rest."""

    runs: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float = 0.0
    untold_tokens: int = 0
    unpriced: int = 0


def spent(attempts: Iterable[Attempt]) -> Totals:
    """What *attempts* took together."""
    total = Totals()
    for each in attempts:
        total = Totals(
            total.runs + 1,
            total.seconds + (each.seconds or 0.0),
            total.tokens + (each.tokens or 0),
            total.cost_usd + (each.cost_usd or 0.0),
            total.untold_tokens + (each.tokens is None),
            total.unpriced + (each.cost_usd is None),
        )
    return total
