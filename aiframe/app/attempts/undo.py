"""Undo a task: its commit is taken back by another commit, and the task is to do again. History is never rewritten."""

from __future__ import annotations

from msgspec import Struct

from aiframe.app.attempts.placing import place_of, publish, to_target
from aiframe.app.project.advance import held
from aiframe.app.project.site import Site
from aiframe.core.errors import UsageError
from aiframe.core.events import Retry
from aiframe.core.machine import Refused
from aiframe.core.model import State, TaskStatus
from aiframe.core.scheduling import is_job
from aiframe.process import now
from aiframe.workspaces.carrying import carry_over
from aiframe.workspaces.commits import BASE_TRAILER, TASK_TRAILER, UNDO_TRAILER
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import candidate, changed_files, commit_candidate, head, work_of
from aiframe.workspaces.landing import TargetMoved
from aiframe.workspaces.place import Place
from aiframe.workspaces.trees import covered, switch_files

_TRIES = 10
"""How often an undo is made anew because other work has landed meanwhile."""
SEPARATOR = "separator=%x2C"


class Landed(Struct, frozen=True):
    """The work of a task on the branch: what came of *base* by it is *commit*. *undone_by* took it back already."""

    base: str
    commit: str
    undone_by: str = ""


def undo(site: Site, task_id: str) -> str:
    """Take the last landed work of *task_id* back, and set the task to todo.

    Nothing is touched where files are not committed or where later work has changed the same lines: Refused says which.
    Raises Refused, UsageError, GitError, UnreadableFile, LockHeld, StorageError.
    """
    with held(site) as draft:
        if draft.project.state is State.RUNNING:
            raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then undo")
        statuses = {task.id: task.status for task in draft.seen.tasks}
        if task_id not in statuses:
            raise UsageError(f"there is no task {task_id}", hint=f"known tasks: {', '.join(statuses) or 'none'}")
        if is_job(draft.seen.tasks, task_id):
            cure = "what its commands did is not known; to run them once more, write `status: todo` in TASKS.yaml"
            raise Refused(f"{task_id} is a job, and has no commit to take back", hint=cure)
        commit = _published(site, task_id, statuses[task_id])
        draft.decide(Retry(draft.seen, task_id))
        built_on = [
            task.id for task in draft.seen.tasks if task_id in task.blocked_by and task.status is TaskStatus.DONE
        ]
    said = f"{task_id} is undone by commit {commit[:10]}, and to do again"
    return f"{said}; what built on it stays as it is: {', '.join(built_on)}" if built_on else said


def _published(site: Site, task_id: str, status: TaskStatus) -> str:
    """The commit that takes the work back, where it landed; on what others land meanwhile it is made anew."""
    for left in reversed(range(_TRIES)):
        place = to_target(site, place_of(site, task_id))
        landed = _last_landed(place.repo, task_id)
        if landed is None or (landed.undone_by and status is TaskStatus.TODO):
            cure = "`git log` shows the commits; `git revert` takes one back"
            raise Refused(f"no commit on this branch holds the work of {task_id}", hint=cure)
        commit = landed.undone_by or _take_back(place, task_id, landed)
        try:
            publish(site, place, commit)
            break
        except TargetMoved as error:
            if not left:
                error.hint = "other work lands there without a pause: run the command again"
                raise
    return commit


def _last_landed(repo: Repository, task_id: str) -> Landed | None:
    """The newest work of the task. What an agent wrote into commits of its own, below ours, counts for nothing."""
    keys = (TASK_TRAILER, BASE_TRAILER, UNDO_TRAILER)
    form = "%x00".join(["--format=%H", *(f"%(trailers:key={key},valueonly,{SEPARATOR})" for key in keys)])
    undone, below = dict[str, str](), set[str]()
    for line in repo.text("log", "--topo-order", form, "HEAD").splitlines():
        commit, task, base, undoes = line.split("\0")
        if commit in below:
            continue
        undone.update({each: commit for each in undoes.split(",") if each})
        start = base if base and repo.is_ancestor(base, commit) else ""
        if task == task_id:
            return Landed(start or f"{commit}^", commit, undone.get(commit, ""))
        if start:
            below.update(repo.text("rev-list", f"{start}..{commit}").split())
    return None


def _take_back(place: Place, task_id: str, landed: Landed) -> str:
    """Commit the reverse of what *landed*, files and branch; the commit."""
    repo, at = place.repo, head(place.repo)
    before = repo.tree_of(at.commit)
    carried = carry_over(repo, landed.commit, landed.base, at.commit, place.control)
    if carried.conflicts:
        cure = f"undo the later tasks first, or take it back by hand: git revert {landed.commit[:10]}"
        files = ", ".join(carried.conflicts[:5])
        raise Refused(f"{task_id} cannot be undone: these files were changed after it: {files}", hint=cure)
    there = candidate(repo, at.commit, place.control).tree
    reverted = work_of(repo, there, place.control) == work_of(repo, carried.tree, place.control)
    dirty = [change.path for change in changed_files(repo, before, there) if not covered(change.path, place.control)]
    if dirty and not reverted:  # an undo that was killed in the middle has done the files already
        cure = "commit them or put them away (`git stash`), then undo"
        raise Refused(f"these files hold changes that are not committed: {', '.join(dirty[:5])}", hint=cure)
    if not reverted:
        switch_files(repo, there, carried.tree)
    return commit_candidate(
        repo,
        base_head=at,
        tree=carried.tree,
        parent=at.commit,
        message=f"aiframe: undo {task_id}",
        trailers={UNDO_TRAILER: landed.commit, "Aiframe-Kind": "undo"},
        date=now().wall,
        allow_empty=True,
    )
