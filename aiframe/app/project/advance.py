"""Move a project on: under the mutex load, observe, decide, write; then pay what the decision owes.

Whoever checks where a project stands and then writes does both while it is `held`, or somebody could come between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from aiframe.app.project.draft import Draft
from aiframe.app.project.observe import observe, tasks_known
from aiframe.app.project.outbox import has_debts, settle_debts
from aiframe.app.project.site import Site
from aiframe.core.effects import Decision, Effect, GoOn, Recover, StartStep
from aiframe.core.events import Event, RunStarted, Tick
from aiframe.core.model import Moment, Project, Run, Runner, State
from aiframe.core.seen import Seen
from aiframe.process import now
from aiframe.store.layout import IGNORED
from aiframe.store.locks import is_run_locked, state_mutex
from aiframe.store.project_store import Loaded
from aiframe.workspaces.create import ensure_repository

EventMaker = Callable[[Seen], Event]


class Chain(Struct, frozen=True):
    """What a runner may still do in this look: begin a step as *runner*, after *tasks_taken* tasks.

    *after_step*: it has had its step, and begins another one only where the machine says to go on.
    """

    runner: Runner
    new_run_id: Callable[[], str]
    may_start: bool = True
    after_step: bool = False
    tasks_taken: int = 0


class Advanced(Struct, frozen=True):
    """Where the project stands now. *started* is a step to carry out, *recover* a dead run to look after first."""

    project: Project
    effects: tuple[Effect, ...] = ()
    started: Run | None = None
    recover: Recover | None = None


class Look(Struct, frozen=True):
    """What a tick would do now."""

    loaded: Loaded
    seen: Seen
    decision: Decision
    has_work: bool


def look(site: Site) -> Look:
    """What a tick would do now. Reads only; raises UnreadableFile."""
    held = is_run_locked(site.layout)
    loaded = _load(site, lock_held=held)
    draft = Draft.of(site, loaded, observe(site, loaded.project, now(), lock_held=held))
    draft.take_hand_edits()
    draft.decide(Tick(draft.seen))
    decision = Decision(draft.project, tuple(draft.effects))
    work = draft.has_changed() or bool(decision.effects)
    if loaded.project.state is not State.RUNNING:
        work = work or has_debts(site, loaded.outbox)
        work = work or (not held and site.layout.carrying.exists())  # a runner was killed while it put things in order
    return Look(loaded, draft.seen, decision, work)


def advance(
    site: Site, make_event: EventMaker | None = None, chain: Chain | None = None, notes: Sequence[str] = ()
) -> Advanced:
    """Apply an event of a person or of a run, then, for a runner's *chain*, begin what comes next in the same write.

    *notes* are what the step that ended had put back or refused; the journal tells them.
    Raises Refused (nothing is written), UnreadableFile, LockHeld, StorageError.
    """
    with held(site, is_runner=chain is not None) as draft:
        if make_event is not None:
            draft.take_notes(notes)
            draft.decide(make_event(draft.seen))
        advanced = Advanced(draft.project, tuple(draft.effects))
        return _look_further(draft, chain, advanced.effects) if chain is not None else advanced


@contextmanager
def held(site: Site, *, is_runner: bool = False, tolerant: bool = False) -> Iterator[Draft]:
    """Hold the project still for the block, as a tick would find it: nobody else decides or writes meanwhile.

    What the block has decided is written at its end, and nothing where it raises. *is_runner*: the caller carries the
    run, so the run lock tells it nothing. *tolerant*: what is decided needs no task, so TASKS.yaml may be broken.
    Raises UnreadableFile, LockHeld, StorageError.
    """
    if not site.layout.git_dir.exists():
        ensure_repository(site.root, IGNORED)  # the mutex lies in it, and half a .git would be a broken one
    with state_mutex(site.layout):
        lock_held = not is_runner and is_run_locked(site.layout)
        loaded = _load(site, lock_held=lock_held or is_runner)
        if loaded.project.state is not State.RUNNING:  # else logs/ and notes/ may be what the step made of them
            settle_debts(site, loaded.outbox)
        tasks = tasks_known(site, loaded.project) if tolerant else None
        draft = Draft.of(site, loaded, observe(site, loaded.project, now(), lock_held=lock_held, tasks=tasks))
        draft.take_hand_edits()
        yield draft
        draft.write()


def _load(site: Site, *, lock_held: bool) -> Loaded:
    """The project. An unreadable STATE.json stops it, but for a run, which has the control record to go by."""
    loaded = site.store.load(tolerate_unreadable=True)
    if loaded.unreadable is not None and not lock_held and loaded.project.state is not State.RUNNING:
        raise loaded.unreadable
    return loaded


def _look_further(draft: Draft, chain: Chain, effects: tuple[Effect, ...]) -> Advanced:
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
        agent=step.agent,
        instead_of=step.instead_of,
    )
