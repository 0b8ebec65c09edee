"""What an attempt left in its folder without its being kept: whose it is, and how it stays off the branch.

A note in aiframe's own folder names the task that an agent was last let at, the commit it started from, and, once the
attempt has ended without being kept, the state of the files it left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from aiframe.app.attempts.linked import begin_linked, leave_linked
from aiframe.app.attempts.placing import place_of
from aiframe.app.attempts.results import Kept
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.core.errors import AiframeError
from aiframe.core.events import Held
from aiframe.core.model import Run, Task, TaskStatus
from aiframe.process import now
from aiframe.store.atomic import write_durable
from aiframe.store.quarantine import set_aside
from aiframe.workspaces.commits import create_ref, move_head, safe_ref, write_commit
from aiframe.workspaces.git_errors import EmbeddedRepositories
from aiframe.workspaces.inplace import Head, candidate, checkpoint, head, keep_ref, restore_tree, work_of
from aiframe.workspaces.place import Place
from aiframe.workspaces.trees import sync_index

HELD = "refs/aiframe/held/"
_KEPT = frozenset({TaskStatus.DONE, TaskStatus.REVIEW})


class Begun(Struct, frozen=True):
    """An attempt that an agent was let at.

    *tip* is HEAD at the end of its agent: what came on top later is not the agent's. *work* tells the attempt's files,
    once it has ended without being kept. *leaving* says that they are being taken away: whatever lies there then is
    part of them, or was put between them while that was interrupted.
    """

    task_id: str = ""
    base: str = ""
    work: str = ""
    tip: str = ""
    leaving: bool = False


def begin(site: Site, place: Place, task: Task, tasks: Sequence[Task], log: StepLog) -> Head:
    """Make the folder ready for an attempt at *task*; the commit that it starts from.

    What an earlier attempt at it left stays, to go on from. Unproven work of another task is taken away and kept in a
    ref. What a person left is committed. Raises GitError.
    """
    if place.kind != "inplace":  # every task has a place of its own
        at = begin_linked(site, place, log.say)
        _write(site, Begun(task.id, at.commit))
        return at
    begun = _read(site)
    if begun.task_id != task.id:
        unproven = begun.task_id and not any(t.id == begun.task_id and t.status in _KEPT for t in tasks)
        adopted = _take_away(site, place, begun, log) if unproven else ""
        checkpoint(place.repo, place.control, f"aiframe: work found before {task.id}{adopted}", now().wall)
        begun = Begun(task.id)
    at = head(place.repo)
    _write(site, replace(begun, base=at.commit, tip="", leaving=False))
    return at


def agent_ended(site: Site, place: Place) -> None:
    """Remember where the branch stands now that the agent's processes are gone. Raises GitError, StorageError."""
    _write(site, replace(_read(site), tip=head(place.repo).commit))


def leave(site: Site, run: Run) -> str:
    """After an attempt that was not kept: take its commits off the branch, and keep in a ref the files that it left.

    Returns in words what was taken back or what failed, empty for nothing.
    """
    begun = _read(site)
    if not run.task_id or begun.task_id != run.task_id:
        return ""
    try:
        place = place_of(site, run.task_id)
        if place.kind != "inplace":
            leave_linked(place, run.task_id, run.run_id)
            return ""
        said = _take_commits_back(place, run.task_id, run.run_id, begun)
        _keep_files(site, place, run, begun)
    except EmbeddedRepositories as error:
        return f"what the attempt left stays where it is, and no ref holds it yet: {error.message}"
    except AiframeError as error:  # the step's own ending must not be lost over this
        return f"what the attempt left could not be looked at: {error.message}"
    return said


def put_by(site: Site, place: Place, run_id: str, task_id: str, kept: Kept, held: Held) -> Held:
    """Keep the held candidate *kept* in a ref of its own, and take it out of the folder, so that others can go on.

    Returns *held* with that ref. Doing it again changes nothing. Raises GitError, StorageError.
    """
    repo, begun = place.repo, _read(site)
    commit = write_commit(repo, kept.tree, (kept.base,), kept.message, kept.trailers, kept.date)
    ref = create_ref(repo, HELD + safe_ref(task_id), commit, kept.date)
    if place.kind != "inplace":
        leave_linked(place, task_id, run_id)
        return replace(held, ref=ref, commit=commit)
    if begun.task_id == task_id:
        _take_commits_back(place, task_id, run_id, begun)
    at = head(repo).commit
    there = candidate(repo, at, place.control).tree
    if there != repo.tree_of(at):
        same = work_of(repo, there, place.control) == work_of(repo, kept.tree, place.control)
        backup = ref if same else keep_ref(repo, f"{task_id}/left", there, f"unverified: {task_id}", now().wall)
        restore_tree(repo, at, place.control, backup=backup)
    _write(site, Begun())
    return replace(held, ref=ref, commit=commit)


def _take_commits_back(place: Place, task_id: str, run_id: str, begun: Begun) -> str:
    """Take the attempt's own commits off the branch, and keep them in a ref; says so in words."""
    repo, tip = place.repo, head(place.repo)
    last = begun.tip or tip.commit
    if last != begun.base and tip.commit != last and repo.is_ancestor(last, tip.commit):
        return "the attempt's own commits are not proven, and stay on the branch: somebody has committed on top of them"
    if last == begun.base or not repo.is_ancestor(begun.base, tip.commit):
        return ""
    kept = keep_ref(repo, f"{task_id}/{run_id}-commits", tip.commit, "", now().wall)
    sync_index(repo, repo.tree_of(begun.base))
    move_head(repo, tip, begun.base, "aiframe: unproven commits taken back", now().wall)
    return f"the attempt's own commits are off the branch, for they are not proven; they are kept in {kept}"


def _keep_files(site: Site, place: Place, run: Run, begun: Begun) -> None:
    """Commit the files that lie there as unverified, in a ref, unless that of an earlier attempt holds the same."""
    repo = place.repo
    try:
        left = candidate(repo, begun.base, place.control).tree
    except EmbeddedRepositories as error:
        _write(site, Begun(begun.task_id, begun.base, _embedded(error)))
        raise
    work = work_of(repo, left, place.control)
    if work != begun.work and left != repo.tree_of(begun.base):
        keep_ref(repo, f"{run.task_id}/{run.run_id}", left, f"unverified: {run.task_id}", run.started.wall)
    _write(site, Begun(begun.task_id, begun.base, work))


def _take_away(site: Site, place: Place, begun: Begun, log: StepLog) -> str:
    """Take away the work of *begun* where it lies as it was left; else say that a person has gone on with it."""
    repo, at = place.repo, head(place.repo).commit
    try:
        left = candidate(repo, at, place.control).tree
    except EmbeddedRepositories as error:
        if not begun.leaving and begun.work != _embedded(error):
            raise  # a person has gone on with it, and what they made is theirs
        begun = replace(begun, leaving=True)
        _write(site, begun)
        left = _without_embedded(site, place, at, log)
    if left == repo.tree_of(at):
        return ""
    if not begun.leaving and work_of(repo, left, place.control) != begun.work:
        return f" (unverified work of {begun.task_id}, changed by hand since)"
    backup = keep_ref(repo, f"{begun.task_id}/left", left, f"unverified: {begun.task_id}", now().wall)
    _write(site, replace(begun, leaving=True))
    restore_tree(repo, at, place.control, backup=backup)
    log.say(f"-- the unverified work of {begun.task_id} was taken away; it is kept in {backup}")
    return ""


def _embedded(error: EmbeddedRepositories) -> str:
    """What tells an attempt's files where a part of them belongs to a repository of its own."""
    return f"embedded: {' '.join(error.folders)}"


def _without_embedded(site: Site, place: Place, at: str, log: StepLog) -> str:
    """The tree of the files on top of commit *at*, of which none belongs to a repository of its own any more: each
    .git of one is kept in quarantine."""
    while True:
        try:
            return candidate(place.repo, at, place.control).tree
        except EmbeddedRepositories as error:
            for folder in error.folders:
                inner = place.root / folder / ".git"
                if not os.path.lexists(inner):
                    raise
                kept = set_aside(site.layout, inner, f"the repository of its own in {folder}")
                inner.unlink(missing_ok=True)  # of a file only a copy was set aside
                log.say(f"-- {folder} is no repository of its own any more: its .git is kept in {kept}")


def _read(site: Site) -> Begun:
    try:
        return Begun(**json.loads(read_text(site.layout.begun_task)))
    except (ValueError, TypeError):
        return Begun()


def _write(site: Site, begun: Begun) -> None:
    write_durable(site.layout.begun_task, json.dumps(to_builtins(begun)))
