"""What an attempt left in the project's folder without its being proven: whose it is, and how it stays off the branch.

A note in aiframe's own folder names the task that an agent was last let at, the commit it started from, and, once the
attempt has ended without being kept, the state of the files it left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from aiframe.app.observe import read_text
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.core.errors import AiframeError
from aiframe.core.model import Run, Task, TaskStatus
from aiframe.process import now
from aiframe.store.atomic import write_durable
from aiframe.store.layout import CONTROL_PATHS
from aiframe.workspaces.commits import move_head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import Head, candidate, checkpoint, head, keep_ref, restore_tree, work_of
from aiframe.workspaces.trees import sync_index

_KEPT = frozenset({TaskStatus.DONE, TaskStatus.REVIEW})


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that an agent was let at.

    *tip* is HEAD at the end of its agent: what came on top later is not the agent's. *work* tells the attempt's files,
    once it has ended without being kept.
    """

    task_id: str = ""
    base: str = ""
    work: str = ""
    tip: str = ""


def begin(site: Site, task: Task, tasks: Sequence[Task], log: StepLog) -> Head:
    """Make the folder ready for an attempt at *task*; the commit that it starts from.

    What an earlier attempt at it left stays, to go on from. Unproven work of another task is taken away and kept in a
    ref. What a person left is committed. Raises GitError.
    """
    repo, begun = Repository(site.root), _read(site)
    if begun.task_id != task.id:
        unproven = begun.task_id and not any(t.id == begun.task_id and t.status in _KEPT for t in tasks)
        adopted = _take_away(repo, begun, log) if unproven else ""
        checkpoint(repo, CONTROL_PATHS, f"aiframe: work found before {task.id}{adopted}", now().wall)
    at = head(repo)
    _write(site, Begun(task.id, at.commit))
    return at


def agent_ended(site: Site) -> None:
    """Remember where the branch stands now that the agent's processes are gone. Raises GitError, StorageError."""
    _write(site, replace(_read(site), tip=head(Repository(site.root)).commit))


def leave(site: Site, run: Run) -> str:
    """After an attempt that was not kept: take its commits off the branch, and remember the files that it left.

    Returns in words what was taken back or what failed, empty for nothing.
    """
    begun = _read(site)
    if not run.task_id or begun.task_id != run.task_id:
        return ""
    try:
        return _leave(site, Repository(site.root), run, begun)
    except AiframeError as error:  # the step's own ending must not be lost over this
        return f"what the attempt left could not be looked at: {error.message}"


def _leave(site: Site, repo: Repository, run: Run, begun: Begun) -> str:
    said, tip = "", head(repo)
    last = begun.tip or tip.commit
    if last != begun.base and tip.commit != last and repo.is_ancestor(last, tip.commit):
        said = "the attempt's own commits are not proven, and stay on the branch: somebody has committed on top of them"
    elif last != begun.base and repo.is_ancestor(begun.base, tip.commit):
        kept = keep_ref(repo, f"{run.task_id}/{run.run_id}-commits", tip.commit, "", now().wall)
        sync_index(repo, repo.tree_of(begun.base))
        move_head(repo, tip, begun.base, "aiframe: unproven commits taken back", now().wall)
        said = f"the attempt's own commits are off the branch, for they are not proven; they are kept in {kept}"
    work = work_of(repo, candidate(repo, begun.base, CONTROL_PATHS).tree, CONTROL_PATHS)
    _write(site, Begun(begun.task_id, begun.base, work))
    return said


def _take_away(repo: Repository, begun: Begun, log: StepLog) -> str:
    """Take away the work of *begun* where it lies as it was left; else say that a person has gone on with it."""
    at = head(repo).commit
    left = candidate(repo, at, CONTROL_PATHS).tree
    if left == repo.tree_of(at):
        return ""
    if work_of(repo, left, CONTROL_PATHS) != begun.work:
        return f" (unverified work of {begun.task_id}, changed by hand since)"
    backup = keep_ref(repo, f"{begun.task_id}/left", left, f"unverified: {begun.task_id}", now().wall)
    restore_tree(repo, at, CONTROL_PATHS, backup=backup)
    log.say(f"-- the unverified work of {begun.task_id} was taken away; it is kept in {backup}")
    return ""


def _read(site: Site) -> Begun:
    try:
        return Begun(**json.loads(read_text(site.layout.begun_task)))
    except (ValueError, TypeError):
        return Begun()


def _write(site: Site, begun: Begun) -> None:
    write_durable(site.layout.begun_task, json.dumps(asdict(begun)))
