"""A git directory of aiframe's own over the project's files and objects, with a configuration that aiframe wrote.

Filters, fsmonitor programs, includes, aliases, external diffs and hooks all hang on the repository's configuration.
In a clean room git never reads it; only settings that are mere values (how names and line ends are stored) are taken
over. Work happens in a private index. A copy of the last one is kept as a cache, so that unchanged files are not hashed
again; the repository's own index is never trusted: its flags can hide a changed file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct, ValidationError, convert, to_builtins

from aiframe.process import Captured, capture
from aiframe.workspaces.git import OVERRIDES, Repository, known_tree
from aiframe.workspaces.git_errors import GitError, checked, survived
from aiframe.workspaces.git_program import TIMEOUT_S, environment
from aiframe.workspaces.git_program import program as git_program
from aiframe.workspaces.loose import plain_bytes
from aiframe.workspaces.settings import personal_settings

PLAIN_VALUES = frozenset(
    f"core.{name}" for name in ("filemode", "ignorecase", "symlinks", "precomposeunicode", "autocrlf", "eol")
)
"""Settings without which git would see changes where there are none; none of them names a program or a file."""

OWN_INDEX = "core.fsync=all,-index"
"""The private index need not survive a power cut: it is removed, or kept as a cache that may be torn."""

SCRATCH_TIMEOUT_S = 5.0
STALE_AFTER_S = 86_400.0
ROOM_PREFIX = "room-"
TRUE = frozenset({"true", "yes", "on", "1"})
NOTE = "index.note"
"""Beside the cache: what a later process is told of it. The seal of a step covers it as it does the cache."""


class Held(Struct, frozen=True):
    """What is known of a cache: the *tree* in it, the *file* that it then was, and the submodules in it, if known."""

    tree: str = ""
    file: tuple[int, ...] = ()
    submodules: tuple[str, ...] | None = None


_HELD: dict[Path, Held] = {}
"""What this process knows of the caches, by their paths."""


class CleanRoom:
    """Git over the files of *repo*, or a *folder* of its own for them, without the configuration of *repo*.

    *index* is the private index, empty at first; *loaded* is the tree or commit that it was set to, and *held* what was
    known of the cache, where that was of this very tree. *scratch* is a
    folder for new objects, where those are not to be kept; git is given less time then.
    """

    __slots__ = ("folder", "held", "home", "index", "loaded", "repo", "scratch")

    def __init__(self, repo: Repository, home: Path, folder: Path | None = None, scratch: Path | None = None) -> None:
        self.scratch = scratch
        self.repo = repo
        self.home = home
        self.index = home / "index"
        self.loaded = ""
        self.held: Held | None = None
        self.folder = folder or repo.root

    def call(
        self, *args: str, stdin: bytes = b"", index: Path | None = None, keep_fds: Sequence[int] = (),
        objects: Path | None = None, timeout_s: float = TIMEOUT_S,
    ) -> Captured:  # fmt: skip
        """Run git on the files with the private index, or with *index*; it inherits *keep_fds*.

        *objects* is a folder of objects to read in place of the repository's own.
        """
        self.repo.assert_own()
        argv = [git_program(), f"--git-dir={self.home}", f"--work-tree={self.folder}", "--no-pager"]
        for setting in OVERRIDES if index is not None else (*OVERRIDES, OWN_INDEX):
            argv += ["-c", setting]
        env = environment() | {
            "GIT_OBJECT_DIRECTORY": str(objects or self.repo.common_dir / "objects"),
            "GIT_INDEX_FILE": str(index or self.index),
        }
        if self.scratch is not None:
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = env["GIT_OBJECT_DIRECTORY"]
            env["GIT_OBJECT_DIRECTORY"] = str(self.scratch)
            timeout_s = min(timeout_s, SCRATCH_TIMEOUT_S)
        if (self.repo.common_dir / "shallow").is_file():
            env["GIT_SHALLOW_FILE"] = str(self.repo.common_dir / "shallow")
        done = capture([*argv, *args], cwd=self.folder, env=env, stdin=stdin, timeout_s=timeout_s, keep_fds=keep_fds)
        return survived(args[0], done)

    def run(self, *args: str, stdin: bytes = b"", index: Path | None = None, keep_fds: Sequence[int] = ()) -> bytes:
        """Like ``call``, but raise GitError unless the command succeeds; returns its output."""
        return checked(args[0], self.call(*args, stdin=stdin, index=index, keep_fds=keep_fds))

    def load(self, tree: str) -> None:
        """Set the private index to *tree*, keeping from the cache what is known about unchanged files."""
        self.loaded, cache = tree, cache_of(self.repo)
        known = _known(cache)
        held = known.file == _identity(cache) and known.tree == known_tree(tree)
        with suppress(OSError):
            shutil.copy2(cache, self.index)  # with its time: git compares file times with the index's own
            if held:
                self.held = known
                return
        if self.call("read-tree", "--reset", tree).code == 0:
            return
        self.index.unlink(missing_ok=True)  # a torn or forged cache costs time, nothing else
        self.run("read-tree", tree)

    def keep_cache(self, tree: str = "", submodules: tuple[str, ...] | None = None) -> None:
        """Make the private index, which holds *tree* and these *submodules*, the cache for the next room.

        Where the disk does not let that be done, there is none.
        """
        cache = cache_of(self.repo)
        with suppress(OSError):
            os.replace(self.index, cache)
            _HELD[cache] = Held(tree, _identity(cache), submodules)
            note = self.home / NOTE
            note.write_text(json.dumps(to_builtins(_HELD[cache])), errors="surrogateescape")
            os.replace(note, cache.with_name(NOTE))


def _known(cache: Path) -> Held:
    """What is known of *cache*; it holds only for the file that it tells of."""
    if cache not in _HELD:
        try:
            told = json.loads(plain_bytes(cache.with_name(NOTE)).decode("utf-8", "surrogateescape"))
            _HELD[cache] = convert(told, Held)
        except (ValueError, RecursionError, ValidationError):
            _HELD[cache] = Held()
    return _HELD[cache]


def _identity(file: Path) -> tuple[int, ...]:
    """What changes whenever *file* is written or replaced; empty where it is not there."""
    try:
        seen = file.lstat()
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def cache_of(repo: Repository) -> Path:
    """The file that remembers what was hashed last time."""
    return repo.private_dir / "index"


@contextmanager
def clean_room(repo: Repository, folder: Path | None = None) -> Iterator[CleanRoom]:
    """A clean room over the files of *repo*, or those in *folder*, removed afterwards.

    Raises GitError where it cannot be made (disk full, no permission).
    """
    repo.assert_own()
    home: Path | None = None
    try:
        repo.private_dir.mkdir(exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=ROOM_PREFIX, dir=repo.private_dir))
        furnish(repo, home)
    except OSError as error:
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)
        raise GitError("prepare", f"{repo.private_dir}: {error.strerror or error}") from error
    try:
        yield CleanRoom(repo, home, folder)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def scratch_room(repo: Repository, scratch: Path | None = None) -> Iterator[CleanRoom]:
    """A clean room over the files of *repo* that leaves nothing behind: not in the repository, nor anywhere else.

    New objects go to *scratch*, or away with the room. Raises GitError where it cannot be made.
    """
    repo.assert_own()
    try:
        with tempfile.TemporaryDirectory(prefix="aiframe-", ignore_cleanup_errors=True) as home:
            furnish(repo, Path(home))
            own = Path(home, "objects")
            own.mkdir()
            yield CleanRoom(repo, Path(home), scratch=scratch or own)
    except OSError as error:
        raise GitError("prepare", f"{error.filename}: {error.strerror or error}") from error


def furnish(repo: Repository, home: Path) -> None:
    """Write into *home* what git asks of a git directory. Raises GitError for a sparse checkout."""
    settings = repo.settings()
    if settings.get("core.sparsecheckout", "").lower() in TRUE:
        raise GitError(
            "prepare",
            "the folder is a sparse checkout: files that are absent would count as deleted",
            hint="`git sparse-checkout disable` in the project folder",
        )
    (home / "refs").mkdir()
    (home / "info").mkdir()
    (home / "HEAD").write_text("ref: refs/heads/none\n")
    (home / "config").write_text(configuration(settings), errors="surrogateescape")
    for name in ("exclude", "attributes"):
        source = repo.common_dir / "info" / name
        if source.is_file():
            shutil.copyfile(source, home / "info" / name)
    for shared in repo.git_dir.glob("sharedindex.*"):
        (home / shared.name).symlink_to(shared)


def configuration(settings: dict[str, str]) -> str:
    """The room's own configuration: the repository's plain values and the person's list of ignored files."""
    object_format = settings.get("extensions.objectformat", "sha1").lower()
    lines = ["[core]", f"\trepositoryformatversion = {0 if object_format == 'sha1' else 1}", "\tbare = false"]
    for key in sorted(PLAIN_VALUES & settings.keys()):
        if re.fullmatch(r"[A-Za-z0-9]*", settings[key]):
            lines.append(f"\t{key.partition('.')[2]} = {settings[key]}")
    ignored = personal_settings().get("core.excludesfile", "")
    if ignored and "\n" not in ignored:
        escaped = ignored.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'\texcludesFile = "{escaped}"')
    if object_format == "sha256":
        lines += ["[extensions]", f"\tobjectFormat = {object_format}"]
    return "\n".join(lines) + "\n"


def sweep_rooms(repo: Repository) -> None:
    """Remove rooms that a killed process left behind more than a day ago."""
    oldest = time.time() - STALE_AFTER_S
    for room in repo.private_dir.glob(f"{ROOM_PREFIX}*"):
        with suppress(OSError):
            if room.lstat().st_mtime < oldest:
                shutil.rmtree(room, ignore_errors=True)
