"""What aiframe itself has landed in a repository: so what came onto a target from another proven task is told from what
somebody brought there, past its own diff.

The ledger lies where agents have no business, as locks and seals do. A commit is in it before it lands: one that never
did so harms nothing, and none that did is missing. A torn line names no commit.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiframe.durable import sync_folder, write_all
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError

LEDGER = "landed"


def enter(host: Repository, commit: str) -> None:
    """Note that *commit* is aiframe's own and is about to land. Durable; may be done again. Raises GitError."""
    path = _path(host)
    if commit in _read(path):
        return
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, f"\n{commit}\n".encode())  # the first ends a line that was torn
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        cure = "make room, and the repository's .git folder and all in it writable for you"
        raise GitError("land", f"{path}: {error.strerror or error}", hint=cure) from error


def strangers(host: Repository, repo: Repository, old: str, new: str) -> tuple[str, ...] | None:
    """The commits on the way from *old* to *new* that aiframe did not land; None where there is no such way.

    *repo* holds both commits. What a merge brought counts with the merge. Raises GitError.
    """
    if not repo.is_ancestor(old, new):
        return None
    ours = _read(_path(host))
    between = repo.text("rev-list", "--first-parent", "--end-of-options", f"{old}..{new}").split()
    if between and repo.commit_of(f"{between[-1]}^") != old:
        return None
    return tuple(commit for commit in between if commit not in ours)


def entered(host: Repository) -> frozenset[str]:
    """All commits that aiframe has landed, or was about to."""
    return _read(_path(host))


def _path(host: Repository) -> Path:
    return host.common_dir / "aiframe" / LEDGER


def _read(path: Path) -> frozenset[str]:
    """The commits in the ledger. One that cannot be read vouches for none."""
    try:
        return frozenset(path.read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return frozenset()
