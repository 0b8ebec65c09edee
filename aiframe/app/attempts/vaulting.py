"""Before a step: seal what the agent must leave alone. After it, or after a crash: put that back and say so."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.app.attempts.linked import give_back, repository_at
from aiframe.app.attempts.results import lock_results
from aiframe.app.project.site import Site
from aiframe.app.protection.log_holds import bring_logs_back, hold_logs, let_go_of_logs
from aiframe.core.errors import StepError
from aiframe.core.model import Run
from aiframe.process import now
from aiframe.store.atomic import make_folder, storage_errors
from aiframe.store.control import bring_back, hold_records
from aiframe.store.quarantine import set_aside
from aiframe.workspaces.commits import current_branch
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import host_lock, host_lock_at
from aiframe.workspaces.linked import READY
from aiframe.workspaces.vault import Breach, Seal, compare_and_restore, seal, settle_refs, with_cache

SEALED = (
    "PROJECT.yaml",
    "AGENTS.md",
    "DIAGNOSE_AGENT.md",
    "prompts",
    "notes/interrupt.flag",
    "notes/review_approval.md",
    "notes/review_rejection.md",
)


class WorkspaceGone(StepError):
    """Somebody has deleted the workspace during the step: the next attempt makes it anew from its branch."""


class Sealed(Struct, frozen=True):
    """What a step must leave alone: *seal* as it is stored, and aiframe's own *records*, held by the runner alone.

    *workspace* is a second seal, where the step works in another repository than the project's. *key* is what the
    result of the step has to hold to count.
    """

    seal: Seal
    records: Mapping[Path, bytes] = field(default_factory=dict)
    workspace: Seal | None = None
    key: str = ""


def mend_folders(site: Site, run_id: str = "") -> tuple[str, ...]:
    """Make logs/, notes/ and the folder of the run real ones again, where a step put something else in their place.

    The journal becomes a file again: nothing can be told without it. A link would have aiframe write outside the
    project. What stands there goes to quarantine. Raises StorageError.
    """
    layout, notes = site.layout, []
    of_run = (layout.run_dir(run_id).parent, layout.run_dir(run_id)) if run_id else ()
    for folder in (layout.logs, layout.notes, *of_run):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            set_aside(layout, folder, "a step put this in the place of a folder")
            folder.unlink(missing_ok=True)  # of a file only a copy was set aside
            notes.append(f"{folder.relative_to(site.root)}/ was replaced by the step: it is a folder again")
        make_folder(folder)
    if os.path.lexists(layout.events) and not stat.S_ISREG(layout.events.lstat().st_mode):
        set_aside(layout, layout.events, "a step put this in the place of the journal")
        notes.append("logs/events.ndjson was replaced by the step: it is a file again")
    return tuple(notes)


def seal_project(site: Site, run: Run, workspace: Path | None = None) -> Sealed:
    """Remember, durably, what the step of *run* must leave alone, also where it works in a *workspace* of its own.

    Raises StepError.
    """
    second = None
    if workspace is not None and workspace != site.root:
        repo = repository_at(site, workspace)
        branch = current_branch(repo) or ""
        with host_lock(repo):  # else a worktree that another task's step makes or removes just now looks half-made
            second = seal(workspace, (), run.run_id, f"refs/heads/{branch.rpartition('/')[0]}/", repo.git_dir)
        second.write(site.layout.workspace_seal)
    sealed = seal(site.root, SEALED, run.run_id)
    sealed.write(site.layout.seal)
    hold_logs(site, run)
    return Sealed(sealed, hold_records(site.layout), second, lock_results(site.layout))


def renewed(site: Site, sealed: Sealed) -> Sealed:
    """*sealed* with what aiframe itself has written since the agent ended: nothing of the agent's may run by now."""
    workspace = with_cache(sealed.workspace) if sealed.workspace is not None else None
    return replace(sealed, seal=with_cache(sealed.seal), records=hold_records(site.layout), workspace=workspace)


def check_seal(site: Site, sealed: Sealed) -> tuple[str, ...]:
    """Put back what was changed, without git first, then look where HEAD went; says in words what was found.

    To be called after anything of the agent's has run: the agent itself, and the commands that run its code.
    """
    folders = mend_folders(site, sealed.seal.run_id)
    seals = [each for each in (sealed.seal, sealed.workspace) if each is not None]
    breaches = list(compare_and_restore(sealed.seal, site.layout.quarantine_dir))
    unlinked = sealed.workspace is not None and not os.path.lexists(sealed.workspace.root / ".git")
    if sealed.workspace is not None:
        if not sealed.workspace.root.is_dir():
            _ready(sealed.workspace).unlink(missing_ok=True)
        breaches += _compare_shared(sealed.workspace, site.layout.quarantine_dir)
    lost = bring_back(site.layout, sealed.records)
    logs = bring_logs_back(site)
    taken: list[str] = []
    for each in seals:
        repo = repository_at(site, each.root)
        taken += _taken(repo)
        breaches += settle_refs(repo, each, site.layout.quarantine_dir, now().wall)
        if unlinked and each is sealed.workspace and _is_emptied(repo, each):
            _ready(each).unlink(missing_ok=True)
        taken += _given_back(repo)
    return (
        *folders,
        *logs,
        *taken,
        *(_in_words(breach) for breach in breaches),
        *(f"aiframe's own {name} was lost: restored" for name in lost),
    )


def workspace_gone(sealed: Sealed | None) -> WorkspaceGone | None:
    """After `check_seal`: what to say where the workspace was deleted during the step; None where it is whole."""
    workspace = sealed.workspace if sealed is not None else None
    if workspace is None or _ready(workspace).is_file():
        return None
    cure = "nothing has to be done: the next attempt has a new one"
    return WorkspaceGone(f"the workspace {workspace.root} was deleted during the step", hint=cure)


def check_whole(sealed: Sealed) -> None:
    """After `check_seal`: raise WorkspaceGone where the workspace was deleted during the step."""
    gone = workspace_gone(sealed)
    if gone is not None:
        raise gone


def _ready(sealed: Seal) -> Path:
    """What says that the workspace is whole; without it the next who comes makes its files anew from its branch."""
    return sealed.git_dir / "aiframe" / READY


def _is_emptied(repo: Repository, sealed: Seal) -> bool:
    """Whether at least half of the files are gone from a folder that had lost its .git: what an agent still wrote into
    a folder that somebody deleted does not make the rest its work."""
    tracked = names(repo.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", sealed.head_commit))
    missing = sum(not os.path.lexists(sealed.root / name) for name in tracked)
    return missing > 0 and missing * 2 >= len(tracked)


def _compare_shared(sealed: Seal, quarantine: Path) -> tuple[Breach, ...]:
    """What a step changed in a repository that others work in as well: none of them adds or removes anything now."""
    with host_lock_at(sealed.common_dir):
        return tuple(compare_and_restore(sealed, quarantine))


def _taken(repo: Repository) -> tuple[str, ...]:
    """Bring what was committed in a clone into the person's repository; says in words what failed."""
    if not repo.is_clone:
        return ()
    from aiframe.workspaces.clone_taking import take

    return take(repo, now().wall)


def _given_back(repo: Repository) -> tuple[str, ...]:
    """Make the .git of a clone what aiframe writes, for the checks; what fails the next attempt does again."""
    try:
        give_back(repo)
    except GitError as error:
        return (error.message,)
    return ()


def drop_seal(site: Site) -> None:
    """Forget the seal: nothing of the step runs any more, and all was checked. Raises StorageError."""
    for path in (site.layout.seal, site.layout.workspace_seal):
        with storage_errors(path, "remove"):
            path.unlink(missing_ok=True)
    let_go_of_logs(site)


def _in_words(breach: Breach) -> str:
    kept = f" (its version is kept in {breach.kept_at})" if breach.kept_at else ""
    cure = f"; {breach.hint}" if breach.hint else ""
    return f"{breach.path} was {breach.what} by the step: {breach.action}{kept}{cure}"


def left_seal(site: Site, run_id: str) -> Sealed | None:
    """What the step *run_id* had to leave alone, whose runner died before it could look; None when there is none."""
    first, second = Seal.read(site.layout.seal), Seal.read(site.layout.workspace_seal)
    if first is None or first.run_id != run_id:
        return None
    return Sealed(first, workspace=second if second is not None and second.run_id == run_id else None)


def sealed_before(site: Site, run: Run) -> Sealed:
    """What the step of *run* has to leave alone, as its dead runner has written it down. Raises StepError."""
    sealed = left_seal(site, run.run_id)
    if sealed is None:
        raise StepError("what the step has to leave alone is not known any more", hint="`aiframe resume` begins anew")
    return replace(sealed, records=hold_records(site.layout), key=lock_results(site.layout))
