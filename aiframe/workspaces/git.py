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
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar, TypeVar

from msgspec import Struct

from aiframe.core.errors import StepError
from aiframe.process import Captured, capture
from aiframe.workspaces.loose import is_sound
from aiframe.workspaces.settings import plain_settings

T = TypeVar("T")

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

TIMEOUT_S = 300.0
NOT_YET = ""
"""The old value of a ref that must not exist yet, whatever the length of object ids."""


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


class Identity(Struct, frozen=True):
    """Whose name stands on a commit."""

    name: str = "aiframe"
    email: str = "aiframe@localhost"


DAMAGED = (
    "the repository is damaged: `git fsck` names what is missing; restore .git from a backup or a clone, or move it "
    "away: the next step then begins a new history with the files as they are"
)
CURES: tuple[tuple[str, str], ...] = (
    (
        r"Unable to create '(?P<path>[^']+\.lock)': File exists",
        "another git command is at work, or one has crashed: when no git process is left, remove {path}",
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


@cache
def search_path() -> str:
    """PATH without its relative entries: a file named git in the project must not become git."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.isabs(entry))


@cache
def program() -> str:
    """The git to run, as an absolute path."""
    found = shutil.which("git", path=search_path())
    if found is None:
        raise StepError("git is not installed", hint="install git (for example `apt-get install git`) and try again")
    return found


def environment() -> dict[str, str]:
    """The whole environment of a git call: nothing of git's own comes from the parent."""
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR", "XDG_CONFIG_HOME") if key in os.environ}
    return kept | {
        "PATH": search_path(),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": "/dev/null",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_DEFAULT_HASH": "sha1",
        "GIT_DEFAULT_REF_FORMAT": "files",
    }


@cache
def personal_settings() -> Mapping[str, str]:
    """The person's own global git settings, read once; empty where there are none."""
    theirs = {key: text for key, text in os.environ.items() if not key.startswith("GIT_") or key == "GIT_CONFIG_GLOBAL"}
    home = Path(theirs.get("HOME", "/"))
    files = (home / ".gitconfig", Path(theirs.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config")
    there = [file for file in files if os.path.lexists(file)]
    if "GIT_CONFIG_GLOBAL" not in theirs and len(there) < 2:
        plain = plain_settings(_bytes(there[0])) if there else {}
        if plain is not None:
            return plain
    argv = [program(), "config", "--global", "-z", "--list"]
    done = survived("config", capture(argv, cwd=Path("/"), env=theirs, timeout_s=30))
    return parse_settings(done.out) if done.code == 0 else {}


def _bytes(file: Path) -> bytes:
    """What *file* holds; where it cannot be read, what git alone could say something about."""
    try:
        return file.read_bytes()
    except OSError:
        return b"?"


def read_settings(file: Path) -> dict[str, str]:
    """The plain values of one configuration file; empty where it cannot be read."""
    try:
        return dict(settings_in(file.read_bytes()))
    except OSError:
        return {}


@lru_cache(maxsize=16)
def settings_in(text: bytes) -> Mapping[str, str]:
    """The plain values of a configuration that reads *text*, kept because a step asks for the same ones many times."""
    plain = plain_settings(text)
    if plain is not None:
        return plain
    argv = [program(), "config", "--file", "-", "--no-includes", "-z", "--list"]
    done = survived("config", capture(argv, cwd=Path("/"), env=environment(), stdin=text, timeout_s=TIMEOUT_S))
    return parse_settings(done.out if done.code == 0 else b"")


def parse_settings(raw: bytes) -> dict[str, str]:
    """What ``git config -z --list`` printed: key (lower case) to value; the last of several wins."""
    pairs = (os.fsdecode(item).partition("\n") for item in raw.split(b"\0") if item)
    return {key.lower(): value if newline else "true" for key, newline, value in pairs}


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
        with open(file, "rb", buffering=0) as stream:
            try:
                said = (stream.read(128) or b"").decode("ascii", "replace")
            except OSError:
                return ""
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
