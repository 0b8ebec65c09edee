"""What a run spends, noted as its agent tells it, so that it counts also where the runner dies; and held to the limits.

The note lies in aiframe's own folder, beside the control record that takes the sum over when the run has ended: once,
because a run ends once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from aiframe.app.project.lanes import lane_places, project_of, read_record, write_record
from aiframe.app.project.observe import local_day
from aiframe.app.project.site import Site
from aiframe.app.project.spent_note import Counted, Note, note_at, spent_so_far
from aiframe.core.budget import Budget, Reached, Spending, Spent, reached, without_attempts
from aiframe.core.errors import AiframeError
from aiframe.core.model import Failure, FailureKind, Run
from aiframe.core.ports import Answer, Usage
from aiframe.core.timing import elapsed
from aiframe.process import now
from aiframe.store.atomic import make_folder, write_atomic
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import load_settings

_LOOK_S = 5.0
"""How often a task that is worked at beside others looks what all of them have spent."""
_SESSIONS = 20
"""How many sessions of agents are remembered, the newest."""


def read_note(site: Site) -> Note:
    """The note of the last run; an empty one where there is none that can be read."""
    return note_at(site.layout)


def spent_by(site: Site, run: Run, *, recovered: bool = False) -> Spent:
    """What *run* has spent, with its time: until now, or for a *recovered* one until it last said that it lived."""
    note = read_note(site)
    spent = note.spent if note.run_id == run.run_id else Spent()
    seconds = max(0.0, site.store.heartbeat() - run.started.wall) if recovered else elapsed(run.started, now())
    return replace(spent, wall_s=round(min(seconds, run.timeout_s + site.rules.hung_grace_sec), 3))


def is_asked_first(site: Site) -> bool:
    """Whether each step of a lane is for its project to begin, which counts the attempts of all lanes together."""
    if not site.layout.is_lane:
        return False
    with suppress(AiframeError):  # told by whoever looks after the lanes
        budget = load_settings(project_of(site.layout).project_yaml, site.environ).rules.budget
        return budget.project.attempts is not None or budget.day.attempts is not None
    return False


class Whole:
    """The budget of a project whose tasks are worked at side by side, seen from one of them; looked at now and then."""

    def __init__(self, site: Site) -> None:
        self._site, self._layout = site, project_of(site.layout)
        self._others, self._budget, self._look_at = Spending(), Budget(), 0.0

    def over(self, own: Spending, spent: Spent) -> Reached | None:
        """The limit that all together reach, with *own* for what this lane spent before its run and *spent* in it.

        The lane is then to rest with its project.
        """
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            with suppress(AiframeError):  # a file that is broken just now is told by whoever looks after the lanes
                self._look()
        if self._budget == Budget():
            return None
        day, _ = local_day(now().wall)
        over = reached(self._others.plus(own).with_run(spent, day, ""), self._budget, day)
        record = read_record(self._site.root) if over is not None else None
        if record is not None and not record.halted:
            write_record(self._site.root, replace(record, halted=True))
        return over

    def _look(self) -> None:
        """What the project has spent apart from this lane, with the steps that run, and what it may spend."""
        settings = load_settings(self._layout.project_yaml, self._site.environ)
        budget = without_attempts(settings.rules.budget)
        self._budget = Budget(budget.project, budget.day)
        if self._budget == Budget():
            return
        project = ProjectStore(self._layout).load(tolerate_unreadable=True).project
        total, day = project.spending, local_day(now().wall)[0]
        for place in lane_places(self._layout.root):
            record = read_record(place)
            if record is None or place == self._site.root or record.task_id in project.closed_lanes:
                continue
            other = ProjectStore(Layout(place)).load(tolerate_unreadable=True).project
            total = total.plus(other.spending)
            so_far = spent_so_far(Layout(place), other.run, now(), running=is_run_locked(Layout(place)))
            total = total.with_run(so_far, day, "")
        self._others = total


class Meter:
    """Follows what one invocation of an agent spends, and says when that reaches a limit.

    *before* is what the run had spent with invocations before this one. With *again* the last one noted is followed
    anew, from its beginning. All raise StorageError.
    """

    def __init__(self, site: Site, run: Run, *, again: bool = False) -> None:
        note = read_note(site)
        project = site.store.load(tolerate_unreadable=True).project
        self._site, self._run = site, run
        again = again and note.run_id == run.run_id
        self._sessions = dict(note.earlier if again else note.sessions)
        self._earlier = dict(self._sessions)
        self._before = Spent() if note.run_id != run.run_id else note.before if again else note.spent
        self._told = Counted()
        self._spending: Spending = project.spending
        self._budget: Budget = without_attempts(site.rules.budget)
        self.over: Reached | None = None
        self._whole = Whole(site) if site.layout.is_lane else None
        self._note(self._told)

    def take(self, usage: Usage, cost_usd: float | None) -> bool:
        """The agent has told *usage* and *cost_usd* so far; whether that is news."""
        told = Counted(_tokens(usage), cost_usd)
        if told == self._told:
            return False
        self._told = told
        self._note(told)
        return True

    def told(self) -> dict[str, Any]:
        """What the agent has told of this invocation; null where it told nothing."""
        return {"tokens": self._told.tokens or None, "cost_usd": self._told.cost_usd}

    def is_over(self) -> bool:
        """Whether a limit is reached by now, with the time that has passed."""
        if self._budget != Budget():
            spent = replace(self._sum(self._told), wall_s=elapsed(self._run.started, now()))
            day, _ = local_day(now().wall)
            spending = self._spending.with_run(spent, day, self._run.task_id)
            self.over = reached(spending, self._budget, day, self._run.task_id)
        if self.over is None and self._whole is not None:
            spent = replace(self._sum(self._told), wall_s=elapsed(self._run.started, now()))
            self.over = self._whole.over(self._spending, spent)
        return self.over is not None

    def end(self, answer: Answer) -> None:
        """The agent has ended: what it says in the end counts, without what its session had counted before."""
        whole = Counted(_tokens(answer.usage), answer.cost_usd)
        own = whole
        if answer.session_id:
            own = whole.without(self._sessions.get(answer.session_id, Counted())) if answer.cumulative else whole
            self._sessions.pop(answer.session_id, None)
            self._sessions[answer.session_id] = whole
        self._told = own
        self._note(own)

    def void(self) -> None:
        """The agent could not be started, so nothing was spent."""
        note = {"run_id": self._run.run_id, "spent": to_builtins(self._before), "sessions": {}}
        write_atomic(self._site.layout.spent_json, json.dumps(note))

    def failure(self) -> Failure:
        """The limit that ended the agent."""
        assert self.over is not None
        return Failure(FailureKind.BUDGET, self.over.message, self.over.hint)

    def _sum(self, told: Counted) -> Spent:
        return self._before.plus(
            Spent(
                tokens=told.tokens,
                cost_usd=told.cost_usd or 0.0,
                attempts=0 if self._before.attempts else 1,
                unmetered=int(not told.tokens),
                unpriced=int(told.cost_usd is None),
            )
        )

    def _note(self, told: Counted) -> None:
        note: dict[str, Any] = {
            "run_id": self._run.run_id, "spent": to_builtins(self._sum(told)), "sessions": _newest(self._sessions),
            "before": to_builtins(self._before), "earlier": _newest(self._earlier),
        }  # fmt: skip
        make_folder(self._site.layout.control_dir)
        write_atomic(self._site.layout.spent_json, json.dumps(note))


def _tokens(usage: Usage) -> int:
    return usage.input_tokens + usage.output_tokens


def _newest(sessions: Mapping[str, Counted]) -> dict[str, Any]:
    return {name: to_builtins(count) for name, count in list(sessions.items())[-_SESSIONS:]}
