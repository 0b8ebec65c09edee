"""What a step must leave alone: sealed before it, compared and put back after it, before any git is run.

Sealed are the project's control files and everything in .git that steers git: configuration, hooks, info, HEAD, refs,
alternates. Foreign versions are moved to a quarantine, never deleted. After a step, in this order:

1. ``compare_and_restore`` works without git, so that nothing an agent planted can run.
2. ``settle_refs`` then keeps what foreign refs named, and takes the agent's own commits where they stand on the base.

A linked worktree shares its repository with a person, who may work there at the same time: of the refs only those below
a prefix are sealed then, and may move; what they named before is kept. Of the lock files only the worktree's own count.

A seal is written below .git/aiframe, so that a later process can do both for a runner that was killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aiframe.durable import replace_file
from aiframe.workspaces.commits import Head, create_ref, current_branch, move_head, safe_ref
from aiframe.workspaces.git import OBJECT_ID, Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.vault_files import Breach, Entry, Quarantine, failed, put_back
from aiframe.workspaces.vault_refs import foreign_refs, put_refs_back, read_refs
from aiframe.workspaces.vault_seal import Seal, cache_digest, cache_files, seal, watched_places, with_cache

__all__ = ["Breach", "Seal", "compare_and_restore", "seal", "settle_refs", "with_cache"]

QUARANTINED = "refs/aiframe/quarantine/"
STANDS_WHEN_CREATED = frozenset({"notes/interrupt.flag"})
"""A person may have made it, and stopping is safe."""
LOST_OBJECTS = "restore .git from a backup or a clone; or move .git away, then the next step begins a new history"


def compare_and_restore(sealed: Seal, quarantine_dir: Path) -> tuple[Breach, ...]:
    """Put back what the step changed of what was sealed; foreign versions go to *quarantine_dir*/RUN_ID. Runs no git.

    Returns what was found, mended or not; an action of ``failed`` needs a person. The branch of HEAD may have moved:
    ``settle_refs`` looks into that. Calling it again finds nothing more.
    """
    quarantine = Quarantine(quarantine_dir / safe_ref(sealed.run_id))
    breaches: list[Breach] = []
    try:
        breaches += rebuild_git_folder(sealed, quarantine)
        if not os.path.lexists(sealed.root):
            sealed.root.mkdir(parents=True)
        places = watched_places(sealed.root, sealed.git_dir, sealed.common_dir, sealed.control_files, sealed.near)
        for place, top, watched in places:
            before = still_of_use(top, sealed.places[place])
            breaches += put_back(top, place, before, [*watched, *before], quarantine, STANDS_WHEN_CREATED)
        breaches += put_head_back(sealed, quarantine)
        breaches += put_refs_back(sealed.common_dir, sealed.refs, sealed.branch, quarantine, sealed.own_refs)
        if cache_digest(sealed.git_dir) != sealed.cache:
            for file in cache_files(sealed.git_dir):
                file.unlink(missing_ok=True)  # only a cache: a forged one could hide a changed file
    except OSError as error:
        breaches.append(failed(str(error.filename or sealed.git_dir), "changed", error))
    return tuple(breaches)


def still_of_use(top: Path, files: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """*files* without those of a neighbouring worktree that is gone: its owner has removed it."""
    return {
        name: entry for name, entry in files.items()
        if not name.startswith("worktrees/") or (top / name).parent.is_dir()
    }  # fmt: skip


def rebuild_git_folder(sealed: Seal, quarantine: Quarantine) -> list[Breach]:
    """Make .git a folder again where it was removed or replaced; the objects in it are gone then."""
    for place in dict.fromkeys((sealed.common_dir, sealed.git_dir)):
        if place.is_dir() and not place.is_symlink():
            continue
        kept_at = ""
        if os.path.lexists(place):
            aside = place.with_name(f"{place.name}.foreign")
            os.rename(place, aside)  # the quarantine itself may lie in it
            kept_at = str(aside)
        if place != sealed.common_dir:  # of a linked worktree: what it holds is sealed, or made again
            (place / "aiframe").mkdir(parents=True)
            if kept_at:
                kept_at = quarantine.take(Path(kept_at), "own-git")
            return [Breach("own-git", "changed" if kept_at else "deleted", "restored", kept_at)]
        for name in ("objects/info", "objects/pack", "refs/heads", "aiframe"):
            (place / name).mkdir(parents=True, exist_ok=True)
        if kept_at:
            kept_at = quarantine.take(Path(kept_at), "dot-git")
        return [Breach("git", "changed" if kept_at else "deleted", "failed", kept_at, LOST_OBJECTS)]
    return []


def put_head_back(sealed: Seal, quarantine: Quarantine) -> list[Breach]:
    """Make HEAD name the same branch again; a detached HEAD may have moved to another commit."""
    path = sealed.git_dir / "HEAD"
    now = None
    with suppress(OSError):
        if path.is_file() and not path.is_symlink():
            now = path.read_text(errors="surrogateescape").strip()
    if now == sealed.head or (sealed.branch is None and now is not None and OBJECT_ID.match(now)):
        return []
    kept_at = quarantine.take(path, "git/HEAD") if os.path.lexists(path) else ""
    replace_file(path, sealed.head.encode("utf-8", "surrogateescape") + b"\n")
    return [Breach("git/HEAD", "changed" if kept_at else "deleted", "restored", kept_at)]


def keep_left_behind(repo: Repository, sealed: Seal, prefix: str, date: float) -> None:
    """Keep what a sealed ref named, where it moved to a commit that does not descend from it."""
    now = read_refs(sealed.common_dir, sealed.own_refs).values
    for name, value in sealed.refs.values.items():
        if now.get(name) == value or not OBJECT_ID.match(value) or not repo.holds(value):
            continue
        if name not in now or not repo.holds(now[name]) or not repo.is_ancestor(value, now[name]):
            create_ref(repo, prefix + safe_ref(name), value, date)


def settle_refs(repo: Repository, sealed: Seal, quarantine_dir: Path, date: float) -> tuple[Breach, ...]:
    """After ``compare_and_restore``: keep foreign commits under refs/aiframe/quarantine/RUN_ID, and look at HEAD.

    Commits on top of the sealed one stay (they become part of the candidate). Where HEAD went anywhere else it is put
    back. May be called again. *date* is in epoch seconds.
    """
    prefix = QUARANTINED + safe_ref(sealed.run_id) + "/"
    for name, value in foreign_refs(Quarantine(quarantine_dir / safe_ref(sealed.run_id))):
        if OBJECT_ID.match(value):
            with suppress(GitError):  # a ref to nothing: the note in the quarantine is all there is to keep
                create_ref(repo, prefix + safe_ref(name), value, date)
    if sealed.own_refs:
        keep_left_behind(repo, sealed, prefix, date)
    if not repo.holds(sealed.head_commit):
        return (Breach("git/objects", "deleted", "failed", hint=LOST_OBJECTS),)
    branch, kept_at = current_branch(repo), ""
    if branch is not None and repo.commit_of(f"refs/heads/{branch}") == sealed.head_commit:
        return ()
    at = Head(repo.text("rev-parse", "--verify", "HEAD"), branch)
    if at.commit == sealed.head_commit:
        return ()
    if repo.holds(at.commit):
        if repo.is_ancestor(sealed.head_commit, at.commit):
            return ()
        kept_at = create_ref(repo, prefix + "head", at.commit, date)
    move_head(repo, at, sealed.head_commit, "aiframe: back to the base of the step", date)
    return (Breach("git/HEAD", "changed", "restored", kept_at),)
