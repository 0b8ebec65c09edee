"""From the agent: what was committed in its .git is brought into the person's repository, once it is proven sound."""

from __future__ import annotations

import tempfile
from pathlib import Path

from msgspec.structs import replace

from aiframe.workspaces.agent_git import branch_in, is_folder, strip
from aiframe.workspaces.cleanroom import ROOM_PREFIX, clean_room
from aiframe.workspaces.clone import Cloned, Given, read_given, write_given
from aiframe.workspaces.commits import create_ref, head, safe_ref
from aiframe.workspaces.git import OBJECT_ID, Repository
from aiframe.workspaces.git_errors import DAMAGED, GitError
from aiframe.workspaces.linked import BACKUP, backup_name
from aiframe.workspaces.locks import markers_of
from aiframe.workspaces.packs import is_whole, move_packs, pack, proven_packs
from aiframe.workspaces.vault_refs import read_refs
from aiframe.workspaces.worktree import move_branch

STASH = "refs/stash"
LOG_BYTES = 64 * 1024
"""How much of a log of stashes is read: some hundred of them."""


def keep_side_branches(cloned: Cloned, date: float) -> list[str]:
    """Backup refs for the other branches in the agent's .git, and for what it stashed; broken ones are passed over.

    Raises GitError for one that is whole and cannot be taken now (git was killed, the disk is full).
    """
    if not is_folder(cloned.inner):
        return []
    strip(cloned.inner)
    kept, given = [], read_given(cloned)
    refs = read_refs(cloned.inner).values.items()
    sides = [(name, value) for name, value in refs if name.startswith("refs/heads/") and name[11:] != cloned.branch]
    for name, value in (*sides, *((STASH, value) for value in stashes(cloned.inner))):
        if not OBJECT_ID.match(value):
            continue
        try:
            fetch(cloned, value, given.commit)
        except GitError as error:
            if is_broken(cloned, value, error):
                continue
            raise
        if not cloned.is_ancestor(value, head(cloned).commit):
            kept.append(create_ref(cloned, f"{BACKUP}{backup_name(cloned)}-{safe_ref(name[5:])}", value, date))
    return kept


def stashes(inner: Path) -> list[str]:
    """The commits that were stashed in the git directory *inner*, the last one first: but that one a log holds all."""
    log = inner / "logs" / STASH
    lines = log.read_bytes()[-LOG_BYTES:].splitlines() if log.is_file() else []
    logged = [line.split(b" ")[1].decode("ascii", "replace") for line in lines if line.count(b" ") > 1]
    return list(dict.fromkeys(filter(None, (branch_in(inner, STASH), *reversed(logged)))))


def is_broken(cloned: Cloned, commit: str, error: GitError) -> bool:
    """Whether *commit* cannot be taken, as *error* says, because of what it is: it never can be then."""
    if error.hint == DAMAGED or "fsck error" in error.detail or "is not what it is called" in error.detail:
        return True
    with clean_room(cloned) as room:
        return not is_whole(room, cloned.inner, commit)


def take(cloned: Repository, date: float) -> tuple[str, ...]:
    """Bring what was committed on the branch of the agent's .git onto the task's branch; says in words what failed.

    The task's branch moves wherever that one went: who looks after it decides what stands. May be called again.
    """
    if not isinstance(cloned, Cloned) or not is_folder(cloned.inner):
        return ()
    try:
        strip(cloned.inner)
        return _take(cloned, read_given(cloned), date)
    except OSError as error:
        raise GitError("clone", f"{cloned.root}: {error.strerror or error}") from error


def _take(cloned: Cloned, given: Given, date: float) -> tuple[str, ...]:
    ref = f"refs/heads/{cloned.branch}"
    value = branch_in(cloned.inner, ref)
    if not OBJECT_ID.match(value) or value == given.commit:
        return ()
    try:
        fetch(cloned, value, given.commit)
    except GitError as error:
        return (f"what was committed in {cloned.inner} cannot be taken, its files count: {error.detail}",)
    at = cloned.commit_of(ref)
    if at == given.commit:
        move_branch(cloned, cloned.branch, at, value, "aiframe: taken from the clone", date)
    elif at != value:
        create_ref(cloned, BACKUP + backup_name(cloned), value, date)
    write_given(cloned, replace(given, commit=value))
    return ()


def fetch(cloned: Cloned, commit: str, have: str) -> None:
    """Bring *commit* from the agent's .git into the person's repository, with all that it holds and *have* does not.

    Every object is named by what it holds, and whatever it refers to is there: git is asked for both before anything
    is added. Raises GitError.
    """
    if cloned.holds(commit):
        return
    with tempfile.TemporaryDirectory(prefix=ROOM_PREFIX, dir=markers_of(cloned)) as name, clean_room(cloned) as room:
        packs = pack(room, Path(name), (commit,), have, cloned.inner / "objects")
        proven = proven_packs(room, Path(name), packs, cloned.common_dir / "objects")
        move_packs(proven, cloned.common_dir / "objects" / "pack", over=False)
    if not cloned.holds(commit):
        raise GitError("index-pack", f"{commit} is not what it is called")
