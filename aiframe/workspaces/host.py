"""A person's repository that tasks are worked for: looked at before anything in it is touched.

Its checkout is not aiframe's: files, index and HEAD stay as they are, dirty or in the middle of a merge. What aiframe
adds are objects, its own branches, its own refs and the entries of its worktrees.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from msgspec import Struct

from aiframe.core.errors import LockHeld, StepError
from aiframe.flocks import try_lock
from aiframe.process import capture
from aiframe.workspaces.cleanroom import TRUE
from aiframe.workspaces.commits import Head, current_branch
from aiframe.workspaces.create import check_usable
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError, survived
from aiframe.workspaces.git_program import environment, program

LEAST_GIT = (2, 38)
"""From this version on git merges two commits without a checkout."""
LOCK_WAIT_S = 600.0
CANNOT_WRITE = "make the repository's .git folder and all in it readable and writable for you"
GONE = "bring the repository back to where it was, or say where it is (workspace.repo in PROJECT.yaml)"


class Base(Struct, frozen=True):
    """What the work starts from: *ref* is the full name of a branch or tag, empty for a mere commit."""

    ref: str
    commit: str

    @property
    def name(self) -> str:
        """The name as people say it."""
        return re.sub(r"\Arefs/(heads|tags|remotes)/", "", self.ref) or self.commit[:12]


class Registered(Struct, frozen=True):
    """An entry for a linked worktree: its folder in .git/worktrees, where the worktree lies, and its branch."""

    git_dir: Path
    root: Path | None
    head: str
    reason: str

    @property
    def branch(self) -> str:
        """The branch that is checked out there; empty for none."""
        return self.head.removeprefix("ref: refs/heads/") if self.head.startswith("ref: refs/heads/") else ""

    @property
    def complete(self) -> bool:
        """Whether git would take it for a worktree, and has made it to its end: at first HEAD is all zeros."""
        return self.root is not None and bool(self.head.strip("0")) and (self.git_dir / "commondir").is_file()


def open_host(path: Path) -> Repository:
    """The repository at *path*, links followed. Raises StepError for what aiframe cannot work in, with the cure."""
    root = Path(os.path.realpath(path))
    if not root.is_dir():
        raise StepError(f"there is no folder {path}", hint="name the top folder of a git repository")
    if not os.path.lexists(root / ".git"):
        raise _no_repository(root)
    repo = Repository(root)
    check_usable(repo)
    settings = repo.settings()
    if settings.get("core.sparsecheckout", "").lower() in TRUE and not (repo.git_dir / "config.worktree").is_file():
        raise GitError("check", f"{root} is a sparse checkout of the old kind", hint="`git sparse-checkout init` there")
    if "extensions.partialclone" in settings or any(re.fullmatch(r"remote\..*\.promisor", key) for key in settings):
        cure = (
            "work in a full clone; or take promisor and partialclonefilter out of its config and `git fetch --refetch`"
        )
        raise GitError("check", f"{root} is a partial clone: files would be missing", hint=cure)
    for place in (repo.common_dir, repo.common_dir / "objects", repo.common_dir / "refs"):
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise StepError(f"{place} cannot be written", hint=CANNOT_WRITE)
    if git_version() < LEAST_GIT:
        raise StepError("this git is too old for worktrees", hint="install git 2.38 or newer; or work in place")
    return repo


def _no_repository(root: Path) -> StepError:
    if all((root / name).exists() for name in ("HEAD", "objects", "refs")):
        return StepError(f"{root} is a bare repository", hint="name a clone of it: `git clone` makes one")
    above = next((folder for folder in root.parents if _has_repository(folder)), None)
    if above is not None:
        return StepError(f"{root} is a folder inside the repository {above}", hint=f"name {above} itself")
    return StepError(f"{root} is no git repository", hint="`git init` there and commit, or name another folder")


def _has_repository(folder: Path) -> bool:
    """Whether git would see one there: not in the empty .git that a killed agent's sandbox leaves as a mount point."""
    return (folder / ".git").is_file() or (folder / ".git" / "HEAD").exists()


@cache
def git_version() -> tuple[int, ...]:
    """The version of git, as far as it is told in numbers."""
    said = capture([program(), "version"], cwd=Path("/"), env=environment()).out.decode("ascii", "replace")
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0,)


@cache
def is_branch_name(name: str) -> bool:
    """Whether git takes *name* for the name of a branch."""
    argv = [program(), "check-ref-format", f"refs/heads/{name}"]
    return survived("check-ref-format", capture(argv, cwd=Path("/"), env=environment())).code == 0


def resolve_base(repo: Repository, name: str = "") -> Base:
    """What *name* (a branch, a tag, any commit) stands for now; without a name, what is checked out.

    Raises GitError where that is nothing, or where there is no commit at all.
    """
    if not name:
        branch = current_branch(repo)
        wanted = f"refs/heads/{branch}" if branch is not None else "HEAD"
    else:
        wanted = name
    for ref in dict.fromkeys((f"refs/heads/{wanted}", wanted)):
        found = repo.call("rev-parse", "-q", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        if found.code == 0:
            full = repo.call("rev-parse", "--symbolic-full-name", "--end-of-options", ref).out.decode(errors="replace")
            lines = [line for line in full.split("\n") if line.startswith("refs/")]
            return Base(lines[-1] if lines else "", found.out.decode().strip())
    if repo.call("rev-list", "-n", "1", "--all").out.strip():
        cure = "name a branch, a tag or a commit that is there: `git branch -a` lists branches"
        raise GitError("rev-parse", f"{repo.root} has no commit {name or wanted}", hint=cure)
    raise GitError("check", f"{repo.root} has no commit yet", hint="make a first commit there: `git commit`")


def is_shown(repo: Repository, folder: Path) -> bool:
    """Whether *folder* lies in the checkout of *repo* where `git status` would show what is in it."""
    if not folder.is_relative_to(repo.root) or folder.is_relative_to(repo.git_dir):
        return False
    return repo.call("check-ignore", "-q", "--no-index", "--", f"{folder.relative_to(repo.root)}/x").code != 0


def check_apart(repo: Repository, folder: Path) -> None:
    """Raise StepError where files in *folder* would turn up in the checkout of *repo*."""
    if is_shown(repo, folder):
        cure = "let XDG_STATE_HOME name a folder outside of it, or have git ignore that folder (.gitignore)"
        raise StepError(f"workspaces in {folder} would lie in your checkout {repo.root}", hint=cure)


def registered(repo: Repository) -> list[Registered]:
    """The entries of all linked worktrees, broken ones included. Read as files, without git."""
    try:
        entries = sorted((repo.common_dir / "worktrees").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [_entry(entry) for entry in entries if entry.is_dir() and not entry.is_symlink()]


def _entry(git_dir: Path) -> Registered:
    link = first_line(git_dir / "gitdir")
    root = Path(os.path.normpath(git_dir / link)).parent if link else None
    return Registered(git_dir, root, first_line(git_dir / "HEAD"), first_line(git_dir / "locked"))


def first_line(path: Path) -> str:
    """The first line of a small file of git's; empty where there is none."""
    try:
        return path.read_text(errors="surrogateescape").partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""


def checkouts(repo: Repository, branch: str) -> list[Path]:
    """The folders in which *branch* is checked out, the person's own one among them."""
    found = [entry.root for entry in registered(repo) if entry.branch == branch and entry.root is not None]
    if first_line(repo.common_dir / "HEAD") == f"ref: refs/heads/{branch}":
        found.append(main_folder(repo))
    return [folder for folder in found if (folder / ".git").exists()]


def main_folder(repo: Repository) -> Path:
    """The folder of the checkout that is no linked worktree."""
    named = repo.settings().get("core.worktree", "")
    return Path(os.path.normpath(repo.common_dir / named)) if named else repo.common_dir.parent


@contextmanager
def host_lock(repo: Repository) -> Iterator[tuple[int, ...]]:
    """One at a time, of all processes: worktrees are added and removed, and work lands. Not reentrant.

    Gives the descriptors that git inherits meanwhile: a git that outlives its killed caller keeps the lock.
    """
    with host_lock_at(repo.common_dir) as held:
        yield held


@contextmanager
def host_lock_at(common_dir: Path) -> Iterator[tuple[int, ...]]:
    """The same by the repository's git directory, whatever a worktree of it says of itself."""
    folder = common_dir / "aiframe"
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / "workspaces.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StepError(f"{folder}: {error.strerror or error}", hint=cure_of(error)) from error
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                said = f"another aiframe process works on the worktrees of {common_dir}"
                lock = shlex.quote(f"{folder}/workspaces.lock")
                raise LockHeld(said, hint=f"wait for it to end; `fuser {lock}` names the process")
            time.sleep(0.01)
        yield (descriptor,)
    finally:
        os.close(descriptor)


def cure_of(error: OSError) -> str:
    """What to do where a file of aiframe's in a repository's .git folder could not be written."""
    return GONE if isinstance(error, FileNotFoundError) else CANNOT_WRITE


def tip(repo: Repository, branch: str) -> Head:
    """Where *branch* stands. Raises GitError where there is none."""
    commit = repo.commit_of(f"refs/heads/{branch}")
    if commit is None:
        raise GitError("rev-parse", f"{repo.root} has no branch {branch} any more", hint="run the command again")
    return Head(commit, branch)
