"""Move a project on: under the mutex load, observe, decide, write; then pay what the decision owes.

The only place where a decision of the machine becomes files. The order makes every crash harmless: first the status
lines (they can be written again), then the control record and STATE.json with the list of debts, then the debts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiframe.app.observe import observe
from aiframe.app.outbox import debt_for, has_debts, settle_debts
from aiframe.app.proposals import beyond_proposal
from aiframe.app.site import Site
from aiframe.app.telling import tell, tell_note
from aiframe.core.events import (
    Archive,
    Decision,
    Effect,
    Event,
    GoOn,
    HandSet,
    Pause,
    Recover,
    Resume,
    RunLost,
    RunStarted,
    Seen,
    SetStatus,
    StartStep,
    StepEnded,
    Tick,
)
from aiframe.core.machine import decide, seen_after
from aiframe.core.model import Moment, Project, Run, Runner, State, Wait
from aiframe.process import now
from aiframe.store.atomic import write_durable
from aiframe.store.layout import IGNORED
from aiframe.store.locks import is_run_locked, state_mutex
from aiframe.store.project_store import Loaded
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_file import load_tasks, set_statuses
from aiframe.workspaces.create import ensure_repository

EventMaker = Callable[[Seen], Event]


@dataclass(frozen=True, slots=True)
class Chain:
    """What a runner may still do in this look: begin a step as *runner*, after *tasks_taken* tasks.

    *after_step*: it has had its step, and begins another one only where the machine says to go on.
    """

    runner: Runner
    new_run_id: Callable[[], str]
    may_start: bool = True
    after_step: bool = False
    tasks_taken: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """Where the project stands now. *started* is a step to carry out, *recover* a dead run to look after first."""

    project: Project
    effects: tuple[Effect, ...] = ()
    started: Run | None = None
    recover: Recover | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a tick would do now."""

    loaded: Loaded
    seen: Seen
    decision: Decision
    has_work: bool


def look(site: Site) -> Look:
    """What a tick would do now. Reads only; raises UnreadableFile."""
    held = is_run_locked(site.layout)
    loaded = _load(site, lock_held=held)
    draft = _Draft(site, loaded, observe(site, loaded.project, now(), lock_held=held))
    draft.take_hand_edits()
    draft.decide(Tick(draft.seen))
    decision = Decision(draft.project, tuple(draft.effects))
    work = draft.has_changed() or bool(decision.effects) or has_debts(site, loaded.outbox)
    if not held and draft.project.state is not State.RUNNING:
        work = work or site.layout.carrying.exists()  # a runner was killed while it put things in order
    return Look(loaded, draft.seen, decision, work)


def advance(
    site: Site, make_event: EventMaker | None = None, chain: Chain | None = None, notes: Sequence[str] = ()
) -> Advanced:
    """Apply an event of a person or of a run, then, for a runner's *chain*, begin what comes next in the same write.

    *notes* are what the step that ended had put back or refused; the journal tells them.
    Raises Refused (nothing is written), UnreadableFile, LockHeld, StorageError.
    """
    if not site.layout.git_dir.exists():
        ensure_repository(site.root, IGNORED)  # the mutex lies in it, and half a .git would be a broken one
    with state_mutex(site.layout):
        held = chain is None and is_run_locked(site.layout)
        loaded = _load(site, lock_held=held or chain is not None)
        settle_debts(site, loaded.outbox)
        draft = _Draft(site, loaded, observe(site, loaded.project, now(), lock_held=held))
        draft.take_hand_edits()
        event = make_event(draft.seen) if make_event else None
        if event is not None:
            draft.take_notes(notes)
            draft.decide(event)
        advanced = Advanced(draft.project, tuple(draft.effects))
        if chain is not None:
            advanced = _look_further(draft, chain, advanced.effects)
        unpaused = isinstance(event, Resume) and draft.is_pause_proposed()
        if draft.has_changed() or unpaused:  # else STATE.json would ask for the pause again when the step ends
            draft.write(overrule_state_file=unpaused or isinstance(event, StepEnded | RunLost))
    return advanced


def _load(site: Site, *, lock_held: bool) -> Loaded:
    """The project. An unreadable STATE.json stops it, but for a run, which has the control record to go by."""
    loaded = site.store.load(tolerate_unreadable=True)
    if loaded.unreadable is not None and not lock_held and loaded.project.state is not State.RUNNING:
        raise loaded.unreadable
    return loaded


def _look_further(draft: _Draft, chain: Chain, effects: tuple[Effect, ...]) -> Advanced:
    """One look after the event, so that a chain never shows a gap between two steps."""
    goes_on = not chain.after_step or any(isinstance(effect, GoOn) for effect in effects)
    for effect in draft.decide(Tick(draft.seen, chain.may_start and goes_on, chain.tasks_taken)):
        match effect:
            case Recover():
                return Advanced(draft.project, effects, recover=effect)
            case StartStep():
                run = _new_run(effect, draft.seen.clock, chain)
                draft.decide(RunStarted(run))
                return Advanced(draft.project, effects, started=run)
            case _:
                pass
    return Advanced(draft.project, effects)


def _new_run(step: StartStep, clock: Moment, chain: Chain) -> Run:
    return Run(
        run_id=chain.new_run_id(),
        role=step.role,
        started=clock,
        timeout_s=step.timeout_s,
        runner=chain.runner,
        task_id=step.task_id,
        attempt=step.attempt,
        input_key=step.input_key,
    )


@dataclass(slots=True)
class _Draft:
    """A project under decision: what it has become so far, and what is owed for it."""

    site: Site
    loaded: Loaded
    seen: Seen
    project: Project = field(init=False)
    effects: list[Effect] = field(default_factory=list)
    debts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.project = self.loaded.project

    def decide(self, event: Event) -> tuple[Effect, ...]:
        """Apply one event, and note what it owes."""
        before = self.project
        decision = decide(before, event, self.site.rules)
        self.project = decision.project
        self.effects.extend(decision.effects)
        self.seen = seen_after(self.seen, decision.effects)
        run_id = before.run.run_id if before.run else ""
        for effect in decision.effects:
            if isinstance(effect, Archive):
                debt = debt_for(self.site, effect.what, self.project, run_id, self.seen.clock.wall)
                self.debts.append(debt)
        line = tell(event, before, self.project, self.seen.tasks, self.seen.clock.wall)
        if line is not None:
            self.debts.append(line)
        return decision.effects

    def take_notes(self, notes: Sequence[str]) -> None:
        """Have the journal tell what the step that ends had put back or refused."""
        if self.project.run is not None:
            run, wall = self.project.run, self.seen.clock.wall
            self.debts += [tell_note(run, number, note, wall) for number, note in enumerate(notes, start=1)]

    def take_hand_edits(self) -> None:
        """What was written into STATE.json by hand. During a run it is a proposal, but for the wish to pause."""
        edits = self.loaded.edits
        if self.project.state is State.RUNNING:
            if self.is_pause_proposed() and not self.project.pause_requested:
                self.decide(Pause())
        elif edits.changed:
            self.decide(HandSet(self.seen, edits.state, edits.settings, _as_fields(edits.fields, self.seen.clock)))

    def is_pause_proposed(self) -> bool:
        """Whether STATE.json asks, by hand and during a run, to pause when the step ends."""
        return self.loaded.project.state is State.RUNNING and self.loaded.edits.state is State.PAUSED

    def has_changed(self) -> bool:
        """Whether there is anything to write."""
        loaded = self.loaded
        hand_edited = bool(loaded.edits.changed) and self.project.state is not State.RUNNING
        lacks_state_file = loaded.missing_state or loaded.stale
        return self.project != loaded.project or bool(self.debts) or hand_edited or lacks_state_file

    def write(self, *, overrule_state_file: bool) -> None:
        """Status lines, then control record and STATE.json, then the debts."""
        self._write_statuses()
        if overrule_state_file:
            self._keep_foreign_edits()
        self.site.store.save(
            self.project,
            self.seen.clock,
            expect_generation=self.loaded.project.generation,
            outbox=self.debts,
            keep_foreign_state=self.loaded.project.state is State.RUNNING and not overrule_state_file,
        )
        settle_debts(self.site, self.debts)

    def _keep_foreign_edits(self) -> None:
        """Keep a copy of the STATE.json that is overruled where it says more than a step may propose."""
        lost = beyond_proposal(self.loaded.edits)
        if lost:
            why = f"changed while a step ran, when it does not count: {', '.join(lost)}"
            with suppress(FileNotFoundError):
                set_aside(self.site.layout, self.site.layout.state_json, why)

    def _write_statuses(self) -> None:
        """Set the status lines that the decision asks for."""
        statuses = {effect.task_id: effect.status for effect in self.effects if isinstance(effect, SetStatus)}
        path = self.site.layout.tasks_yaml
        file = load_tasks(path) if statuses else None
        if file is None:
            return
        current = {task.id: task.status for task in file.tasks}
        wanted = {name: status for name, status in statuses.items() if name in current and current[name] != status}
        if wanted:
            write_durable(path, set_statuses(file.text, wanted))


def _as_fields(edited: Mapping[str, Any], clock: Moment) -> dict[str, Any]:
    """Fields of STATE.json as the project has them: ``not_before`` (epoch seconds) is a wait there."""
    fields = dict(edited)
    if "not_before" in fields:
        until = fields.pop("not_before")
        fields["wait"] = Wait(clock.wall, max(0.0, until - clock.wall)) if until else None
    return fields
