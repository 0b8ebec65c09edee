"""Gives a folder a git repository of its own, once, however many ask for it at the same time."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiframe.core.errors import LockHeld
from aiframe.flocks import try_lock
from aiframe.process import capture
from aiframe.workspaces.cleanroom import TRUE, sweep_rooms
from aiframe.workspaces.commits import Head, current_branch, move_head, write_commit
from aiframe.workspaces.git import NOT_YET, Repository
from aiframe.workspaces.git_errors import GitError, checked
from aiframe.workspaces.git_program import environment, program
from aiframe.workspaces.trees import first_tree, sync_index

FIRST_MESSAGE = "aiframe: first commit"
BLOCK_START, BLOCK_END = "# aiframe: begin", "# aiframe: end"
NEW_PREFIX = ".aiframe-new-"
LOCK_WAIT_S = 120.0
_TAKEN: set[tuple[Path, tuple[bytes, ...]]] = set()
"""The repositories that git has taken for one, with the HEAD and the configuration by which it did."""


def ensure_repository(root: Path, ignored: Sequence[str]) -> Repository:
    """The repository of *root* itself with at least one commit; *ignored* patterns stand in its .git/info/exclude.

    Does nothing where all that is so. A repository around *root* is not looked at. Raises GitError for a bare or
    damaged repository, EmbeddedRepositories, LockHeld when another process holds the folder for too long.
    """
    with folder_lock(root):
        if not os.path.lexists(root / ".git"):
            make_repository(root)
        repo = Repository(root)
        check_usable(repo)
        write_ignored(repo, ignored)
        if not has_commit(repo):
            make_first_commit(repo)
        sweep_rooms(repo)
    return repo


@contextmanager
def folder_lock(root: Path) -> Iterator[None]:
    """Hold *root* itself, so that no lock file is left in somebody's folder. Raises LockHeld."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise LockHeld(f"{root} is held by another process", hint="wait for it to end, or end it")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def make_repository(root: Path) -> None:
    """An empty repository with branch main; it appears whole or not at all. Raises GitError."""
    if all((root / name).exists() for name in ("HEAD", "objects", "refs")):
        raise GitError("check", f"{root} is a bare repository", hint="work in a clone of it: `git clone`")
    for left in root.glob(f"{NEW_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)  # a killed process's: we hold the folder
    try:
        nursery = Path(tempfile.mkdtemp(prefix=NEW_PREFIX, dir=root))
    except OSError as error:
        raise GitError("init", f"{root}: {error.strerror}") from error
    try:
        argv = [program(), "init", "-q", "--template=", "-b", "main", str(nursery)]
        checked("init", capture(argv, cwd=nursery, env=environment(), timeout_s=60))
        (nursery / ".git" / "info").mkdir(exist_ok=True)
        os.rename(nursery / ".git", root / ".git")
    finally:
        shutil.rmtree(nursery, ignore_errors=True)


def check_usable(repo: Repository) -> None:
    """Raise GitError for a repository that aiframe cannot work in, and say why."""
    for name, place in (("HEAD", repo.git_dir), ("objects", repo.common_dir), ("refs", repo.common_dir)):
        if not (place / name).exists():
            raise GitError("check", f"{repo.git_dir} is not a git repository: {name} is missing")
    settings = repo.settings()
    if settings.get("core.bare", "").lower() in TRUE:
        raise GitError("check", f"{repo.root}/.git is a bare repository", hint="`git config core.bare false` there")
    if settings.get("extensions.refstorage", "files") != "files":
        raise GitError(
            "check", "refs are not stored as files", hint="`git refs migrate --ref-format=files` in the project folder"
        )
    by = (repo.git_dir / "HEAD", repo.common_dir / "config", repo.git_dir / "config.worktree")
    known = (repo.git_dir, tuple(map(_bytes, by)))
    if known not in _TAKEN:
        branch = current_branch(repo)  # which `has_commit` asks for next: git that can tell has taken the repository
        if branch is None or repo.ask_commit(f"refs/heads/{branch}") is None:
            repo.run("rev-parse", "--git-dir")
        _TAKEN.add(known)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def has_commit(repo: Repository) -> bool:
    """Whether HEAD names a commit. Raises GitError when it names one that is not there."""
    branch = current_branch(repo)
    if branch is not None and repo.commit_of(f"refs/heads/{branch}") is not None:
        return True
    if repo.call("rev-parse", "-q", "--verify", "HEAD^{commit}").code == 0:
        return True
    named = repo.call("rev-parse", "-q", "--verify", "HEAD")
    if named.code == 0:
        raise GitError("check", f"bad object {named.out.decode().strip()}: the commit that HEAD names is missing")
    if branch is None or os.path.lexists(repo.common_dir / "refs" / "heads" / branch):
        raise GitError("check", "HEAD is broken", hint="restore .git/HEAD, for example `ref: refs/heads/main`")
    return False


def make_first_commit(repo: Repository) -> None:
    """Commit everything that is there, so that a base exists always."""
    tree = first_tree(repo)
    date = time.time()
    commit = write_commit(repo, tree, (), FIRST_MESSAGE, {}, date)
    sync_index(repo, tree)
    move_head(repo, Head(NOT_YET, current_branch(repo)), commit, FIRST_MESSAGE, date)


def write_ignored(repo: Repository, ignored: Sequence[str]) -> None:
    """Keep aiframe's block in info/exclude; the person's own lines stay as they are."""
    file = repo.common_dir / "info" / "exclude"
    try:
        old = file.read_text(errors="surrogateescape") if file.exists() else ""
        new = with_block(old, ignored)
        if new == old:
            return
        file.parent.mkdir(exist_ok=True)
        fresh = file.with_name(f"exclude.aiframe-{os.getpid()}")
        fresh.write_text(new, errors="surrogateescape")
        os.replace(fresh, file)
    except OSError as error:
        raise GitError("prepare", f"{file}: {error.strerror}") from error


def with_block(text: str, ignored: Sequence[str]) -> str:
    """*text* with aiframe's block holding exactly *ignored*."""
    lines = text.splitlines()
    if BLOCK_START in lines and BLOCK_END in lines[lines.index(BLOCK_START) :]:
        start = lines.index(BLOCK_START)
        end = lines.index(BLOCK_END, start)
        lines[start : end + 1] = [BLOCK_START, *ignored, BLOCK_END]
    else:
        lines += [BLOCK_START, *ignored, BLOCK_END]
    return "\n".join(lines) + "\n"
