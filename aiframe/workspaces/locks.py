"""Lock files of git's that a killed aiframe left behind, and git that goes on after it.

``git`` killed in the middle of a write leaves ``index.lock`` or ``refs/heads/main.lock``, and no later git gets past
it. So every such write is announced by a marker that names the locks. Its writer holds it (flock), and so does the git
that the writer starts, which may outlive a killed writer: whoever comes next waits until it is let go. A marker that
nobody holds is a dead writer's: the locks it names, if they are of that time, go away with it. A lock of anybody else's
is left.

All markers of a repository lie in one folder, whichever of its worktrees they are about: refs are everybody's, and the
folder of a worktree goes away with it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from aiframe.flocks import try_lock
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError, GitKilled
from aiframe.workspaces.git_program import TIMEOUT_S

MARKER_PREFIX = "writing-"
WAIT_S = 10.0
"""How long to wait for another writer before trying in spite of it: git then says itself what is in the way."""
FILES_WAIT_S = TIMEOUT_S
"""How long to wait for a git that writes files: to go on beside it would be to measure half of what it does."""
STRANGER_WAIT_S = 2.0
"""How long to wait for a lock that is nobody's of ours: an editor that looks at the repository is done by then."""
FILES = ".files"
"""The suffix of a name that stands for files: no lock file of that name is there, it is only to wait by."""
LOCK_SUFFIXES = frozenset({".lock", ".new"})
_POLL_S = 0.01


@contextmanager
def announced(repo: Repository, locks: Sequence[Path]) -> Iterator[tuple[int, ...]]:
    """Announce that git is about to take *locks*, after clearing away what dead writers left.

    Gives the descriptors that this git has to inherit.
    """
    clear_leftovers(repo, locks)
    wait_for_strangers(locks)
    marker: Path | None = None
    descriptor = -1
    folder = markers_of(repo)
    try:
        folder.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{MARKER_PREFIX}", dir=folder)
        marker = Path(name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps([str(lock) for lock in locks]).encode())
        visible = marker.with_name(marker.name.removeprefix("."))
        os.rename(marker, visible)  # seen by others only once it is held
        marker = visible
    except OSError as error:
        with suppress(OSError):
            os.close(descriptor)
        raise GitError("prepare", f"{folder}: {error.strerror}") from error
    try:
        yield (descriptor,)
        marker.unlink(missing_ok=True)
    except GitKilled:
        raise  # and leave the marker: whoever comes next clears away the locks that it names
    except BaseException:
        marker.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def markers_of(repo: Repository) -> Path:
    """Where the markers of all who write to the repository lie."""
    return repo.common_dir / "aiframe"


def clear_leftovers(repo: Repository, wanted: Sequence[Path]) -> None:
    """Remove the locks of writers that are dead; wait for those that are alive and hold one of *wanted*."""
    for marker in markers_of(repo).glob(f"{MARKER_PREFIX}*"):
        with suppress(OSError, ValueError):
            clear_one(marker, wanted)


def clear_one(marker: Path, wanted: Sequence[Path]) -> None:
    """Remove *marker* and its locks as soon as its writer is gone, at once where it holds none of *wanted*.

    Raises BlockingIOError for a writer that lives on.
    """
    descriptor = os.open(marker, os.O_RDONLY)
    try:
        locks = [Path(name) for name in json.loads(os.read(descriptor, 65_536))]
        asked = [FILES_WAIT_S if lock.suffix == FILES else WAIT_S for lock in locks if lock in wanted]
        take(descriptor, time.monotonic() + max(asked, default=0.0))
        if os.fstat(descriptor).st_nlink == 0:
            return  # its writer has finished: a lock that is there now is somebody else's
        begun = os.fstat(descriptor).st_mtime
        for lock in locks:
            with suppress(FileNotFoundError):
                if lock.suffix in LOCK_SUFFIXES and begun - 1 <= lock.lstat().st_mtime <= begun + TIMEOUT_S:
                    lock.unlink()
        marker.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def take(descriptor: int, deadline: float) -> None:
    """Hold the marker of *descriptor*. Raises BlockingIOError when another holds it until *deadline* (monotonic)."""
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            raise BlockingIOError(errno.EWOULDBLOCK, "somebody else holds it")
        time.sleep(_POLL_S)


def wait_for_strangers(locks: Sequence[Path]) -> None:
    """Wait until none of *locks* is there, at most STRANGER_WAIT_S: git itself does not wait for its index."""
    deadline = time.monotonic() + STRANGER_WAIT_S
    theirs = [lock for lock in locks if lock.suffix in LOCK_SUFFIXES]
    while any(lock.exists() for lock in theirs) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def ref_locks(repo: Repository, ref: str) -> tuple[Path, ...]:
    """The locks that git takes to move *ref*: its own, and HEAD's, whose log follows."""
    return (repo.common_dir / f"{ref}.lock", repo.git_dir / "HEAD.lock")


def deleting_locks(repo: Repository, ref: str) -> tuple[Path, ...]:
    """The locks that git takes to delete *ref*, which may be one of many in packed-refs; that is written anew then."""
    return (*ref_locks(repo, ref), *(repo.common_dir / f"packed-refs.{suffix}" for suffix in ("lock", "new")))


def files_of(repo: Repository) -> tuple[Path, ...]:
    """What a git announces that writes the files of *repo*."""
    return (repo.git_dir / f"work{FILES}",)


def index_locks(repo: Repository) -> tuple[Path, ...]:
    """The lock that git takes to write the index."""
    return (repo.git_dir / "index.lock",)
