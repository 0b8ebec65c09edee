"""What a person says to a review: yes, or what is to be done again.

Every function returns one sentence that says what has happened. All raise Refused where it does not fit the state
(nothing is written then), UsageError, UnreadableFile, LockHeld, StorageError.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiframe.app.commands import note
from aiframe.app.project.advance import held
from aiframe.app.project.draft import Draft
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.app.project.texts import checked_text
from aiframe.core.errors import UsageError
from aiframe.core.events import Approve, HandSet, SendBack, Tick
from aiframe.core.machine import Refused
from aiframe.core.model import State, TaskStatus
from aiframe.store.atomic import make_folder, write_durable

_AT_REST = (State.DONE, State.ERROR, State.PAUSED, State.PAUSE_INTERACT)
"""Where nothing goes on before somebody says so."""


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
    when = f"once `aiframe resume` ends {state}" if state in _AT_REST else "by the next tick"
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
