"""Git on a folder that an agent has worked in: nothing that the folder holds is ever run.

A repository's own configuration, hooks and attributes can name programs. Two ways of calling git keep them silent:

- ``Repository.run`` reads and writes commits and refs only. The repository's configuration is read, and everything in
  it that could start a program is overridden.
- ``CleanRoom`` (see cleanroom.py) is for all that looks at the files or an index: git then works with a configuration
  of aiframe's own, and the repository's is not read at all.

Every call names the git directory and the top level itself: git never searches upwards, so that a folder inside
somebody else's repository can never be mistaken for a part of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from aiframe.process import Captured, capture
from aiframe.workspaces.git_errors import GitError, checked, survived
from aiframe.workspaces.git_program import TIMEOUT_S, environment, program
from aiframe.workspaces.loose import is_sound
from aiframe.workspaces.settings import personal_settings, read_settings

OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.fsync=all",
    "core.fsyncMethod=batch",
    "core.quotePath=false",
    "core.attributesFile=/dev/null",
    "core.commitGraph=false",
    "core.pager=cat",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "log.showSignature=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "submodule.recurse=false",
    "diff.ignoreSubmodules=all",
)
"""Settings that win over the repository's. ``commitGraph``: a forged graph would lie about who descends from whom."""

NOT_YET = ""
"""The old value of a ref that must not exist yet, whatever the length of object ids."""


class Identity(Struct, frozen=True):
    """Whose name stands on a commit."""

    name: str = "aiframe"
    email: str = "aiframe@localhost"


def names(raw: bytes) -> tuple[str, ...]:
    """File names that git printed with ``-z``; bytes that are no UTF-8 survive the round trip."""
    return tuple(os.fsdecode(name) for name in raw.split(b"\0") if name)


OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_TREES: dict[str, str] = {}
"""The trees of commits that were asked for by their full id, which never comes to mean something else."""
_COMMITS: set[tuple[Path, str]] = set()
"""The repositories and ids of which git has said that they are commits there."""
_DESCENDS: set[tuple[str, str]] = set()
"""Pairs of commits of which git has said that the second descends from the first."""
_LOOSE_REF = re.compile(r"refs/(?:heads|aiframe)(?:/[A-Za-z0-9_-]+)+")
"""The name of a ref that is a file of its own, or packed: no other rule of git's applies to it."""


def known_tree(name: str) -> str:
    """The tree of a commit, where that is known; else *name* itself, which may be that of a tree."""
    return _TREES.get(name, name)


class Repository:
    """The project's own repository at *root*. Raises GitError when *root* has none.

    *git_dir* is its git directory, looked for in *root* unless it is named, *common_dir* the one that linked worktrees
    share (the same for a plain repository).
    """

    __slots__ = ("common_dir", "found", "git_dir", "root")
    is_clone: ClassVar[bool] = False
    """Whether the folder has a .git of the agent's, which this is not."""

    def __init__(self, root: Path, git_dir: Path | None = None) -> None:
        self.root = Path(os.path.abspath(root))
        self.found = git_dir is None
        self.git_dir = git_dir or git_directory(self.root)
        self.common_dir = common_directory(self.git_dir)

    @property
    def private_dir(self) -> Path:
        """aiframe's own folder inside the git directory."""
        return self.git_dir / "aiframe"

    def assert_own(self) -> None:
        """Raise GitError unless the top level still has the very git directory that was found at first."""
        if self.found and git_directory(self.root) != self.git_dir:
            raise GitError("check", f"{self.root}/.git now points elsewhere", hint="restore the project's .git")

    def settings(self) -> dict[str, str]:
        """The repository's own configuration as plain values; includes are not followed and nothing is run."""
        self.assert_own()
        found = read_settings(self.common_dir / "config")
        own = self.git_dir / "config.worktree"
        return {**found, **read_settings(own)} if own.is_file() and "extensions.worktreeconfig" in found else found

    def identity(self) -> Identity:
        """Who commits: the repository's user, else the person's global one, else aiframe."""
        found = {**personal_settings(), **self.settings()}
        name, email = clean_name(found.get("user.name", "")), clean_name(found.get("user.email", ""))
        return Identity(name or Identity().name, email or Identity().email)

    def call(
        self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, keep_fds: Sequence[int] = ()
    ) -> Captured:
        """Run a git command that touches commits and refs only, and return how it ended; it inherits *keep_fds*."""
        self.assert_own()
        argv = [program(), f"--git-dir={self.git_dir}", f"--work-tree={self.root}", "--no-pager"]
        for setting in OVERRIDES:
            argv += ["-c", setting]
        its_env = environment() | dict(env or {})
        done = capture([*argv, *args], cwd=self.root, env=its_env, stdin=stdin, timeout_s=TIMEOUT_S, keep_fds=keep_fds)
        return survived(args[0], done)

    def run(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Like ``call``, but raise GitError unless the command succeeds; returns its output."""
        return checked(args[0], self.call(*args, stdin=stdin, env=env))

    def text(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """The output of ``run`` as one stripped text."""
        return os.fsdecode(self.run(*args, stdin=stdin, env=env)).strip()

    def tree_of(self, commit: str) -> str:
        """The tree id of *commit* (or of a tree)."""
        known = _TREES.get(commit)
        if known is not None:
            return known
        tree = self.text("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
        if OBJECT_ID.match(commit):
            _TREES[commit] = tree
        return tree

    def commit_of(self, name: str) -> str | None:
        """The commit that *name*, an object id or the full name of a ref, stands for now; None where there is none.

        Git is asked once about each commit, for it stays one; which one a ref names is read where it is written.
        """
        known = name if OBJECT_ID.match(name) else self._written(name)
        return known if (self.common_dir, known) in _COMMITS else self.ask_commit(name)

    def ask_commit(self, name: str) -> str | None:
        """The commit that *name* stands for, as git says now, whatever is known; None where there is none."""
        found = self.call("rev-parse", f"{name}^{{commit}}", f"{name}^{{tree}}")
        said = found.out.decode("ascii", "replace").split()
        if found.code != 0 or len(said) != 2 or not all(map(OBJECT_ID.match, said)):
            return None
        self.remember(*said)
        return said[0]

    def remember(self, commit: str, tree: str) -> None:
        """*commit* is there, and has *tree*: git has said so, or has just made it."""
        _COMMITS.add((self.common_dir, commit))
        _TREES[commit] = tree

    def _written(self, ref: str) -> str:
        """What the file of a ref says, which counts before all else; empty where there is none, or no plain one."""
        self.assert_own()
        if not _LOOSE_REF.fullmatch(ref):
            return ""
        try:
            file = os.open(self.common_dir / ref, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            said = os.read(file, 128).decode("ascii", "replace")
        except OSError:  # a folder, too: that of refs whose names begin so
            return ""
        finally:
            os.close(file)
        return said[:-1] if said.endswith("\n") and OBJECT_ID.match(said[:-1]) else ""

    def holds(self, name: str) -> bool:
        """Whether the commit or tree *name* is there, and its tree with it."""
        self.assert_own()
        if OBJECT_ID.match(name) and is_sound(self.common_dir / "objects", name):
            return True
        return self.call("cat-file", "-e", f"{name}^{{tree}}").code == 0

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether *new* is *old* or descends from it."""
        if old == new or (old, new) in _DESCENDS:
            return True
        done = self.call("merge-base", "--is-ancestor", old, new)
        if done.code not in (0, 1):
            checked("merge-base", done)
        if done.code == 0 and OBJECT_ID.match(old) and OBJECT_ID.match(new):
            _DESCENDS.add((old, new))
        return done.code == 0


def clean_name(text: str) -> str:
    """A name or address as git would store it: without the characters that part the fields of a commit."""
    return re.sub(r"[<>\n\0]", "", text).strip().strip(".,:;\"'")


def git_directory(root: Path) -> Path:
    """The git directory of *root* itself, never of a folder above it. Raises GitError when it has none."""
    entry = root / ".git"
    if entry.is_dir():
        return Path(os.path.realpath(entry)) if entry.is_symlink() else entry
    if not entry.is_file():
        raise GitError("check", f"{root} has no repository of its own", hint="a step makes one; do not remove .git")
    head, _, target = entry.read_text(errors="surrogateescape").partition(":")
    path = Path(os.path.normpath(root / target.strip()))
    if head != "gitdir" or not target.strip() or not path.is_dir():
        raise GitError("check", f"{entry} points to no git directory", hint="`git worktree repair` mends the link")
    return path


def common_directory(git_dir: Path) -> Path:
    """Where refs, objects and configuration live: elsewhere than *git_dir* for a linked worktree."""
    try:
        target = (git_dir / "commondir").read_text(errors="surrogateescape").strip()
    except FileNotFoundError:
        return git_dir
    path = Path(os.path.normpath(git_dir / target))
    if not path.is_dir():
        raise GitError("check", f"{git_dir}/commondir points to no folder", hint="`git worktree repair` mends the link")
    return path
