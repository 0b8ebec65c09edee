"""What a person does to a project, each a few lines on top of `advance`.

Every function returns one sentence that says what has happened. All raise Refused where it does not fit the state
(nothing is written then), UnreadableFile, LockHeld, StorageError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiframe.app.advance import advance
from aiframe.app.observe import read_text
from aiframe.app.site import Site, open_site
from aiframe.app.texts import checked_text
from aiframe.core.errors import StepError, UnreadableFile, UsageError
from aiframe.core.events import AnswerGiven, AnswersDone, Change, Pause, Replan, Resume, Retry, SetStatus
from aiframe.core.machine import Refused
from aiframe.core.model import Settings, State, Unknown
from aiframe.process import end_runner, host_name, is_alive, now
from aiframe.store.atomic import append_durable, make_folder, storage_errors, write_durable
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import Loaded, ProjectStore
from aiframe.store.tasks_file import load_tasks

STOP_PATIENCE_S = 20.0
"""How long a runner gets to end its step by itself (its agent gets some seconds of that)."""

_ENDED = (State.DONE, State.ERROR)
_RESUMABLE = (*_ENDED, State.PAUSED, State.PAUSE_INTERACT, State.RUNNING)
_IN_REVIEW = (State.REVIEW_WAITING, State.REVIEW_READY)


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
    before = state_of(site)
    project = advance(site, lambda seen: Pause()).project
    if project.state is State.RUNNING:
        return "The step that runs may end, then the project pauses"
    return "It was paused already" if before is State.PAUSED else f"Paused in {before}"


def go_on(site: Site, *, cut_wait_short: bool = False) -> str:
    """Go on from a pause, an interrupt, an error or the end, and take back an interrupt that is not yet obeyed."""
    withdrawn = site.layout.interrupt_flag.is_file()
    with storage_errors(site.layout.interrupt_flag, "remove"):
        site.layout.interrupt_flag.unlink(missing_ok=True)
    before = state_of(site)
    if withdrawn and not cut_wait_short and before not in _RESUMABLE:
        return "The interrupt is taken back"
    after = advance(site, lambda seen: Resume(seen, cut_wait_short)).project.state
    if after is State.RUNNING:
        return "The step runs on, and the project after it"
    return f"The wait is cut short in {after}" if after == before else f"{before} is over: the project is in {after}"


def interrupt(site: Site) -> str:
    """Have the project stop for a talk before the next step."""
    loaded = site.store.load(tolerate_unreadable=True)
    state = _state(loaded)
    if not _settings(loaded).interactive_mode:
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
    Raises Refused for a runner on another host, GuardError, StepError where the step does not end.
    """
    layout = Layout(root.resolve())
    check_project_folder(layout.root)
    run = ProjectStore(layout).load(tolerate_unreadable=True).project.run
    if run is None:
        return pause(open_site(root, environ)) if then_pause else "No step is running"
    if run.runner.host and run.runner.host != host_name():
        host = run.runner.host
        raise Refused(f"the step runs on the host {host}, out of reach", hint=f"run `aiframe stop` on {host}")
    if then_pause:
        with suppress(UnreadableFile):  # the signal says the same, only a runner that must be killed cannot tell it
            pause(open_site(root, environ))
    if not is_run_locked(layout) and not is_alive(run.runner):
        return "The step has lost its runner already; the next tick looks after it"
    if end_runner(run.runner, run.run_id, term_grace_s=STOP_PATIENCE_S):
        return f"The runner did not end within {STOP_PATIENCE_S:g} s and was killed; the next tick looks after its step"
    if is_run_locked(layout):
        cure = f"`fuser {layout.run_lock}` names the process that holds it"
        raise StepError("the step does not end: something else than its runner holds the run lock", hint=cure)
    return "Stopped the step"


def retry(site: Site, task_id: str = "") -> str:
    """Give a failed task (empty: every failed task) its attempts back, and go on from an error."""
    before = state_of(site)
    advanced = advance(site, lambda seen: Retry(seen, task_id))
    again = [effect.task_id for effect in advanced.effects if isinstance(effect, SetStatus)]
    if again:
        return f"To be tried again, with all attempts: {', '.join(again)}"
    return f"{before} is over: the project is in {advanced.project.state}"


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


# Review ---------------------------------------------------------------------------------------------------------------


def approve(site: Site, text: str = "") -> str:
    """Say yes to a review; the next tick takes it."""
    _check_review(site)
    if _is_there(site.layout.rejection):
        cure = f"delete {site.layout.rejection.relative_to(site.root)} first, if you have changed your mind"
        raise Refused("a rejection is there already, and goes before an approval", hint=cure)
    make_folder(site.layout.notes)
    write_durable(site.layout.approval, checked_text(text or "approved", "the note") + "\n")
    return "Approved"


def reject(site: Site, notes: str, task_ids: Sequence[str] = ()) -> str:
    """Send work back with *notes*; *task_ids* names the tasks (none: those of the review). The next tick takes it."""
    _check_review(site)
    words = checked_text(notes, "the notes")
    known = [task.id for task in load_tasks(site.layout.tasks_yaml).tasks]
    strangers = [name for name in task_ids if name not in known]
    if strangers:
        cure = f"known tasks: {', '.join(known) or 'none'}"
        raise UsageError(f"there is no task {', '.join(strangers)}", hint=cure)
    if _is_there(site.layout.approval):
        cure = f"delete {site.layout.approval.relative_to(site.root)} first, if you have changed your mind"
        raise Refused("an approval is there already, and would be taken for the next review", hint=cure)
    named = f"\ntasks: {', '.join(task_ids)}\n" if task_ids else ""
    make_folder(site.layout.notes)
    write_durable(site.layout.rejection, f"{words}\n{named}")
    return f"Rejected: {', '.join(task_ids) if task_ids else 'the reviewed tasks'} will go back with your notes"


def _check_review(site: Site) -> None:
    state = state_of(site)
    if state not in _IN_REVIEW:
        raise Refused(f"no review waits: the project is in {state}", hint="see `aiframe why`")


def _is_there(path: Path) -> bool:
    return bool(read_text(path).strip())


# Words to the agents --------------------------------------------------------------------------------------------------


def answers_done(site: Site) -> str:
    """The interview goes on with the answers as they are."""
    advance(site, lambda seen: AnswersDone())
    return "The interview goes on with the answers as they are"


def answer_question(site: Site, question_id: str, text: str) -> str:
    """Answer what an agent asked."""
    words = checked_text(text, "the answer")
    advance(site, lambda seen: AnswerGiven(question_id, words))
    return f"Answered {question_id}"


def note(site: Site, text: str) -> str:
    """Write something down for the next step."""
    words = checked_text(text, "the note").replace("\n", "\n  ")
    make_folder(site.layout.notes)
    line = f"- {datetime.fromtimestamp(now().wall, UTC):%Y-%m-%d %H:%M} UTC: {words}\n"
    append_durable(site.layout.interaction_notes, line.encode())
    return "Noted in notes/interaction_notes.md, which the next step reads"
