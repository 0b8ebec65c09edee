"""What a run has spent so far, noted as its agent tells it: so it counts while the run lives, and where it dies.

The note lies in aiframe's own folder, beside the control record that takes the sum over when the run has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.app.project.observe import read_text
from aiframe.core.budget import Spent
from aiframe.core.errors import AiframeError
from aiframe.core.model import Moment, Run
from aiframe.core.timing import elapsed
from aiframe.store.layout import Layout


class Counted(Struct, frozen=True):
    """What an agent told of one invocation; *cost_usd* is None where it told none."""

    tokens: int = 0
    cost_usd: float | None = None

    def without(self, earlier: Counted) -> Counted:
        """What has come since *earlier*, of two counts of one session."""
        cost = None if self.cost_usd is None else max(0.0, self.cost_usd - (earlier.cost_usd or 0.0))
        return Counted(max(0, self.tokens - earlier.tokens), cost)


class Note(Struct, frozen=True):
    """What run *run_id* has spent so far, but for its time; *sessions* tells what each session had counted last.

    *before* and *earlier* are both as they were before its last invocation of an agent.
    """

    run_id: str = ""
    spent: Spent = field(default_factory=Spent)
    sessions: Mapping[str, Counted] = field(default_factory=dict)
    before: Spent = field(default_factory=Spent)
    earlier: Mapping[str, Counted] = field(default_factory=dict)


def note_at(layout: Layout) -> Note:
    """The note of the last run; an empty one where there is none that can be read."""
    try:
        return msgspec.convert(json.loads(read_text(layout.spent_json)), Note)
    except (AiframeError, ValueError, RecursionError):
        return Note()


def spent_so_far(layout: Layout, run: Run | None, clock: Moment, *, running: bool) -> Spent:
    """What *run*, which is not settled yet, has spent by now; its time counts while it is *running*."""
    note = note_at(layout) if run is not None else Note()
    if run is None or note.run_id != run.run_id:
        return Spent()
    return replace(note.spent, wall_s=min(elapsed(run.started, clock), run.timeout_s)) if running else note.spent
