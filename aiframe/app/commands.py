"""What a person does to a project, each a few lines on top of `advance`.

Every function returns one sentence that says what has happened. All raise Refused where it does not fit the state
(nothing is written then), UnreadableFile, LockHeld, StorageError.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiframe.app.project.advance import advance, held
from aiframe.app.project.draft import Draft
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site, open_site
from aiframe.app.project.texts import checked_text
from aiframe.core.errors import StepError, UnreadableFile, UsageError
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Approve,
    Change,
    HandSet,
    Pause,
    Replan,
    Resume,
    Retry,
    Seen,
    SendBack,
    SetStatus,
    TakeOver,
    Tick,
    WorkDone,
)
from aiframe.core.machine import Refused
from aiframe.core.model import Run, Settings, State, TaskStatus, Unknown
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


# Review ---------------------------------------------------------------------------------------------------------------


def approve(site: Site, text: str = "", task_ids: Sequence[str] = ()) -> str:
    """Say yes to a review; the next tick takes it. Words that are there already are kept.

    *task_ids* name held work to take, whatever the project does just now: it lands once its checks have passed again.
    """
    if task_ids:
        return _take_held(site, text, task_ids)
    words = checked_text(text, "the note") if text else ""
    _begin_review(site)
    approval, rejection = site.layout.approval, site.layout.rejection
    with held(site) as draft:
        _check_review(draft)
        if _said(rejection):
            cure = f"delete {rejection.relative_to(site.root)} first, if you have changed your mind"
            raise Refused("a rejection is there already, and goes before an approval", hint=cure)
        said = _said(approval)
        if said and not words:
            return "It was approved already"
        make_folder(site.layout.notes)
        write_durable(approval, "\n\n".join(filter(None, [said, words or "approved"])) + "\n")
    return "Approved"


def reject(site: Site, notes: str, task_ids: Sequence[str] = ()) -> str:
    """Send work back with *notes*; *task_ids* names the tasks (none: those of the review). The next tick takes it."""
    words = checked_text(notes, "the notes")
    if task_ids and _are_held(site, task_ids):
        with held(site) as draft:
            for task_id in task_ids:
                draft.decide(SendBack(draft.seen, task_id, words))
        return f"Rejected: {', '.join(task_ids)}; to do again, with your notes"
    _begin_review(site)
    approval, rejection = site.layout.approval, site.layout.rejection
    with held(site) as draft:
        _check_review(draft)
        _check_known(draft, task_ids)
        if _said(approval):
            cure = f"delete {approval.relative_to(site.root)} first, if you have changed your mind"
            raise Refused("an approval is there already, and would be taken for the next review", hint=cure)
        named = f"\ntasks: {', '.join(task_ids)}\n" if task_ids else ""
        make_folder(site.layout.notes)
        write_durable(rejection, "\n\n".join(filter(None, [_said(rejection), f"{words}\n{named}"])))
        taken = _taken_besides(draft, task_ids) if task_ids else ()
    back = f"Rejected: {', '.join(task_ids) if task_ids else 'the reviewed tasks'} will go back with your notes"
    return f"{back}; {', '.join(taken)} will be taken as looked at" if taken else back


def _taken_besides(draft: Draft, task_ids: Sequence[str]) -> tuple[str, ...]:
    """The tasks in review that a rejection of *task_ids* alone lets through."""
    in_review = (task.id for task in draft.seen.tasks if task.status is TaskStatus.REVIEW)
    return tuple(name for name in in_review if name not in task_ids and name not in draft.project.held)


def _take_held(site: Site, text: str, task_ids: Sequence[str]) -> str:
    """Take held work; words to it go where the next steps read them."""
    words = checked_text(text, "the note") if text else ""
    with held(site) as draft:
        for task_id in task_ids:
            draft.decide(Approve(draft.seen, task_id))
        state = draft.project.state
    if words:
        note(site, f"{', '.join(task_ids)} approved: {words}")
    rests = state in (*_ENDED, State.PAUSED, State.PAUSE_INTERACT)
    when = f"once `aiframe resume` ends {state}" if rests else "by the next tick"
    return f"Approved: {', '.join(task_ids)}; checked again and landed {when}"


def _are_held(site: Site, task_ids: Sequence[str]) -> bool:
    """Whether the work of all of *task_ids* waits for a word."""
    waiting = site.store.load(tolerate_unreadable=True).project.held
    return all(task_id in waiting and not waiting[task_id].approved for task_id in task_ids)


def _begin_review(site: Site) -> None:
    """Let a review begin that is due, or was put off while nobody was there: words from before it would not count."""
    with held(site) as draft:
        project = draft.project
        rests = State.DEV_READY in (project.state, project.paused_from if project.state is State.PAUSED else None)
        collected = any(t.status is TaskStatus.REVIEW and t.id in project.review_items for t in draft.seen.tasks)
        if rests and collected:
            draft.decide(HandSet(draft.seen, State.REVIEW_READY))
        if draft.project.state is State.REVIEW_READY:
            draft.decide(Tick(draft.seen, may_start=False))


def _check_review(draft: Draft) -> None:
    if draft.project.state is not State.REVIEW_WAITING:
        running = draft.project.state is State.RUNNING
        cure = "`aiframe pause` lets the step end; then approve or reject" if running else "see `aiframe why`"
        raise Refused(f"no review waits: the project is in {draft.project.state}", hint=cure)


def _check_known(draft: Draft, task_ids: Sequence[str]) -> None:
    known = [task.id for task in draft.seen.tasks]
    strangers = [name for name in task_ids if name not in known]
    if strangers:
        raise UsageError(f"there is no task {', '.join(strangers)}", hint=f"known tasks: {', '.join(known) or 'none'}")


def _said(path: Path) -> str:
    return read_text(path).strip()


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
