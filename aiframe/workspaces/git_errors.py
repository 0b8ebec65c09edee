"""How git says no: its refusals as errors, each with what a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from aiframe.core.errors import StepError
from aiframe.process import Captured

T = TypeVar("T")


class GitError(StepError):
    """Git could not do what was asked. *command* is its short name, *detail* what git said."""

    def __init__(self, command: str, detail: str, *, hint: str = "") -> None:
        self.command = command
        self.detail = detail
        super().__init__(f"git {command} failed: {detail}", hint=hint or cure(detail))


class HeadMoved(GitError):
    """The branch is no longer where it was when the work was measured; nothing was written."""


class GitBusy(GitError):
    """Another git command holds a lock that this one needs, or left it when it crashed; nothing was written."""


class GitKilled(GitError):
    """Somebody killed git. Whether it had done its work is not known; its lock files may be left."""


class EmbeddedRepositories(StepError):
    """Folders with a git repository of their own: their files would not be in the commit."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)
        super().__init__(
            f"a git repository of its own inside the project: {', '.join(self.folders)}; its files would be lost",
            hint="remove its .git so that its files are kept with the project, or list the folder in .gitignore",
        )


DAMAGED = (
    "ask `git fsck`: where it finds nothing wrong, a `git gc --prune=now` took what was in no branch yet, and "
    "`aiframe resume` goes on; else the repository is damaged: restore .git from a backup or a clone, or move it away: "
    "the next step then begins a new history with the files as they are"
)
CURES: tuple[tuple[str, str], ...] = (
    (
        r"Unable to create '(?P<path>[^']+\.lock)': File exists",
        "another git command is at work, or one has crashed: when no git process is left, remove {path}",
    ),
    (
        r"'refs/heads/(?P<taken>[^']+)' exists; cannot create",
        "the branch {taken} is in its way: `git branch -m {taken} OTHER`, or name another target in PROJECT.yaml",
    ),
    (r"cannot lock ref", "another git command moved the branch at the same time; run the command again"),
    (
        r"No space left on device|Out of diskspace|Disk quota exceeded",
        "make room on the disk and run the command again",
    ),
    (
        r"unable to write (\w+ )*file|write error|short write|unable to create temporary file",
        "see whether the disk is full (`df`): make room, and run the command again",
    ),
    (r"Read-only file system", "the disk is mounted read-only: make it writable and run the command again"),
    (
        r"Permission denied|insufficient permission|Operation not permitted",
        "make every file of the project and of its .git folder readable and writable for you (chown, chmod)",
    ),
    (r"unable to read|(bad|invalid|not a valid) object|corrupt|missing (blob|tree|commit)", DAMAGED),
    (r"single revision|bad signature|broken", DAMAGED),
    (r"bad config|unknown repository extension", "correct .git/config: git names the line"),
    (r"not a git repo", "the .git folder is incomplete: restore it, or move it away and let aiframe make a new one"),
)


def cure(detail: str) -> str:
    """What a person can do about git's message *detail*."""
    for pattern, text in CURES:
        if found := re.search(pattern, detail, re.IGNORECASE):
            return text.format(**found.groupdict())
    return "read git's message, put it right in the project folder and run the command again"


def checked(command: str, done: Captured) -> bytes:
    """The output of a command that succeeded; GitError for one that did not."""
    if done.code == 0:
        return done.out
    raise refused(command, done)


def refused(command: str, done: Captured) -> GitError:
    """The error for a command that did not succeed."""
    detail = message_of(done)
    lock = re.search(r"Unable to create '([^']+\.lock)': File exists", detail)
    if lock is None:
        return GitError(command, detail)
    said = f"{lock[1]} is there: another git command is at work in this folder, or has crashed"
    return GitBusy(command, said, hint=cure(detail))


def survived(command: str, done: Captured) -> Captured:
    """*done*, unless git was killed: a signal is no answer. Raises GitKilled."""
    if done.code < 0:
        raise GitKilled(command, f"killed by signal {-done.code}", hint="run the command again")
    return done


def again_if_killed(work: Callable[[], T]) -> T:
    """What *work* gives, which may be done twice: once more where somebody killed its git."""
    try:
        return work()
    except GitKilled:
        return work()


def message_of(done: Captured) -> str:
    """Git's own words about a failure, without the advice it adds."""
    lines = [line.strip() for line in done.err.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(("hint:", "warning:"))]
    return "; ".join(said[:4]) or f"exit code {done.code}"
