"""What a person does to a project, each a few lines on top of `advance`.

Every function returns one sentence that says what has happened. All raise Refused where it does not fit the state
(nothing is written then), UnreadableFile, LockHeld, StorageError.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiframe.app.project.advance import advance, held
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.texts import checked_text
from aiframe.core.effects import SetStatus
from aiframe.core.errors import StepError, UnreadableFile
from aiframe.core.events import AnswerGiven, AnswersDone, Change, Pause, Replan, Resume, Retry, TakeOver, WorkDone
from aiframe.core.machine import Refused
from aiframe.core.model import Run, Settings, State, TaskStatus, Unknown
from aiframe.core.seen import Seen
from aiframe.process import end_runner, host_name, is_alive, now
from aiframe.store.atomic import append_durable, make_folder, storage_errors, write_durable
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout, contain
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import Loaded, ProjectStore

STOP_PATIENCE_S = 20.0
"""How long a runner gets to end its step by itself (its agent gets some seconds of that)."""

_SHOWN = 80
"""How many characters of an answer are shown again."""
_ENDED = (State.DONE, State.ERROR)
_RESUMABLE = (*_ENDED, State.PAUSED, State.PAUSE_INTERACT, State.RUNNING)


def state_of(site: Site) -> State | Unknown:
    """Where the project stands, with what a person wrote into STATE.json while nothing ran."""
    return _state(site.store.load(tolerate_unreadable=True))


def _state(loaded: Loaded) -> State | Unknown:
    project = loaded.project
    edited = loaded.edits.state
    return project.state if edited is None or project.run is not None else edited


# Stopping and going on ------------------------------------------------------------------------------------------------


def pause(site: Site) -> str:
    """Start no further step."""
    with held(site, tolerant=True) as draft:
        before = draft.project.state
        draft.decide(Pause())
    if before is State.RUNNING:
        return "The step that runs may end, then the project pauses"
    return "It was paused already" if before is State.PAUSED else f"Paused in {before}"


def go_on(site: Site, *, cut_wait_short: bool = False) -> str:
    """Go on from a pause, an interrupt, an error or the end, and take back an interrupt that is not yet obeyed."""
    flag = site.layout.interrupt_flag
    with held(site) as draft, storage_errors(flag, "remove"):
        before = draft.project.state
        if flag.is_file() and not cut_wait_short and before not in _RESUMABLE:
            flag.unlink()
            return "The interrupt is taken back"
        draft.decide(Resume(draft.seen, cut_wait_short))
        flag.unlink(missing_ok=True)
        after = draft.project.state
    if after is State.RUNNING:
        return "The step runs on, and the project after it"
    return f"The wait is cut short in {after}" if after == before else f"{before} is over: the project is in {after}"


def interrupt(site: Site) -> str:
    """Have the project stop for a talk before the next step."""
    with held(site) as draft:
        state = draft.project.state
        if not draft.project.settings.interactive_mode:
            raise Refused("interactive_mode is off, so interrupts are not looked for", hint="use `aiframe pause`")
        if state in (*_ENDED, State.PAUSED) or isinstance(state, Unknown):
            raise Refused(f"there is nothing to interrupt: the project is in {state}", hint="see `aiframe why`")
        make_folder(site.layout.notes)
        write_durable(site.layout.interrupt_flag, "Delete this file, or run `aiframe continue`, to go on.\n")
    if state is State.PAUSE_INTERACT:
        return "It was interrupted already"
    return "Interrupted: no further step starts; what you `aiframe note` now reaches the next one"


def stop(root: Path, environ: Mapping[str, str], *, then_pause: bool = True) -> str:
    """End the step that runs, and pause unless *then_pause* is off; where nothing runs, pause.

    Works with files that cannot be read, too: whoever stops a step may do so because of what it did to them.
    Raises Refused for a runner on another host that may be alive, GuardError, StepError where the step does not end.
    """
    layout = Layout(root.resolve())
    check_project_folder(layout.root)
    run = ProjectStore(layout).load(tolerate_unreadable=True).project.run
    if run is None and not then_pause:
        return "No step is running"
    if run is None:
        return _pause_instead(open_site(root, environ, tolerant=True)) or stop(root, environ)
    if run.runner.host and run.runner.host != host_name():
        return _take_over(open_site(root, environ, tolerant=True), run.runner.host, then_pause=then_pause)
    if then_pause:
        with suppress(UnreadableFile):  # the signal says the same, only a runner that must be killed cannot tell it
            pause(open_site(root, environ, tolerant=True))
    return _end(layout, run, environ)


def _pause_instead(site: Site) -> str:
    """Pause a project that does nothing; empty where a step has begun meanwhile."""
    with held(site, tolerant=True) as draft:
        state = draft.project.state
        if state is State.RUNNING:
            return ""
        if state in _ENDED or isinstance(state, Unknown):
            return f"No step is running, and none starts: the project is in {state}"
        draft.decide(Pause())
    already = state is State.PAUSED
    return f"No step is running; {'it was paused already' if already else f'paused in {state}, so that none starts'}"


def _take_over(site: Site, host: str, *, then_pause: bool) -> str:
    with held(site, tolerant=True) as draft:
        draft.decide(TakeOver(draft.seen))
        if then_pause:
            draft.decide(Pause())
    return f"The host {host} is given up; the next tick looks after its step"


def _end(layout: Layout, run: Run, environ: Mapping[str, str]) -> str:
    """End *run*, whose runner is on this host."""
    from aiframe.app.attempts.contained import stop_contained  # much that other commands do without

    if not is_run_locked(layout) and not is_alive(run.runner):
        if stop_contained(layout, environ, run.run_id):
            return "Stopped the agent, which had lost its runner; the next tick looks after its step"
        return "The step has lost its runner already; the next tick looks after it"
    if end_runner(run.runner, run.run_id, term_grace_s=STOP_PATIENCE_S):
        stop_contained(layout, environ, run.run_id)
        return f"The runner did not end within {STOP_PATIENCE_S:g} s and was killed; the next tick looks after its step"
    if is_run_locked(layout):
        cure = f"`fuser {shlex.quote(str(layout.run_lock))}` names the process that holds it"
        raise StepError("the step does not end: something else than its runner holds the run lock", hint=cure)
    return "Stopped the step"


def retry(site: Site, task_id: str = "") -> str:
    """Give a failed task (empty: every failed task) its attempts back, and go on from an error."""
    before = state_of(site)
    advanced = advance(site, lambda seen: Retry(_not_done(seen, task_id), task_id))
    again = [effect.task_id for effect in advanced.effects if isinstance(effect, SetStatus)]
    if again:
        return f"To be tried again, with all attempts: {', '.join(again)}"
    return f"{before} is over: the project is in {advanced.project.state}"


def _not_done(seen: Seen, task_id: str) -> Seen:
    """*seen*. Raises Refused where the task is done: it would be paid for, and land, once more."""
    task = next((task for task in seen.tasks if task.id == task_id), None)
    if task is not None and task.status is TaskStatus.DONE:
        cure = f"`aiframe undo {task_id}` takes its work back and opens it again; for more work add a task"
        if task.is_job:
            cure = "to have its commands run once more, write `status: todo` in TASKS.yaml, then `aiframe resume`"
        raise Refused(f"{task_id} is done: there is nothing to try again", hint=cure)
    return seen


def replan(site: Site) -> str:
    """Have the PO plan again."""
    advance(site, lambda seen: Replan())
    return "The plan is open again: PO works it over with SPEC.md as it is now"


# Settings -------------------------------------------------------------------------------------------------------------


def current_settings(site: Site) -> Settings:
    """The settings as they hold now."""
    return _settings(site.store.load())


def _settings(loaded: Loaded) -> Settings:
    """The settings, with what a person wrote into STATE.json; while a step runs that is only the agent's proposal."""
    edited = loaded.edits.settings
    return loaded.project.settings if edited is None or loaded.project.run is not None else edited


def set_values(site: Site, values: dict[str, object]) -> str:
    """Change settings of STATE.json; *values* are checked already."""
    advance(site, lambda seen: Change(values))
    return "Set " + ", ".join(f"{name} to {shown(value)}" for name, value in values.items())


def shown(value: object) -> str:
    """A setting's value as STATE.json spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


# Work by hand ---------------------------------------------------------------------------------------------------------


def hand_in(site: Site, task_id: str = "") -> str:
    """Say that the work in the person's hands is done; the next tick checks it."""
    project = advance(site, lambda seen: WorkDone(seen, task_id)).project
    work = project.handed
    return f"Handed in: {(work.task_id or work.role) if work else 'the work'}"


# Words to the agents --------------------------------------------------------------------------------------------------


def answers_done(site: Site) -> str:
    """The interview goes on with the answers as they are."""
    advance(site, lambda seen: AnswersDone())
    return "The interview goes on with the answers as they are"


def answer_question(site: Site, question_id: str, text: str) -> str:
    """Answer what an agent asked: in words, by the number of a choice, or with nothing for its default."""
    words = checked_text(text, "the answer") if text.strip() else ""
    after = advance(site, lambda seen: AnswerGiven(question_id, words)).project
    taken = next((question.answer for question in after.questions if question.id == question_id), "")
    return f"Answered {question_id}: {' '.join(taken.split())[:_SHOWN]}"


def note(site: Site, text: str) -> str:
    """Write something down for the next step."""
    words = checked_text(text, "the note").replace("\n", "\n  ")
    make_folder(site.layout.notes)
    contain(site.root, site.layout.interaction_notes.relative_to(site.root))  # it may be a link to anywhere
    line = f"- {datetime.fromtimestamp(now().wall, UTC):%Y-%m-%d %H:%M} UTC: {words}\n"
    append_durable(site.layout.interaction_notes, line.encode())
    return "Noted in notes/interaction_notes.md, which the next step reads"
