"""Workspaces that are clones: what an agent does to the .git that it sees never reaches the person's repository.

The folder has a git directory of its own, with the history of the task's branch copied into it: no remote, no borrowed
object, no link. That one is the agent's, and aiframe runs no git by what it says. aiframe's own git works on the same
files by an *entry*, a small git directory beside the folder whose objects and refs are those of the person's
repository, as those of a linked worktree are. So all that holds for a worktree holds here; two ways are added:

- ``give`` makes the agent's .git what aiframe writes there, with the branch where it stands;
- ``take`` brings what was committed there into the person's repository, once its objects are proven to be sound.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from aiframe.durable import replace_file, sync_folder
from aiframe.workspaces.agent_git import branch_in, is_folder, put, remove, strip, sweep, write_branch
from aiframe.workspaces.cleanroom import ROOM_PREFIX, CleanRoom, clean_room, sweep_rooms
from aiframe.workspaces.commits import create_ref, head, safe_ref
from aiframe.workspaces.git import OBJECT_ID, Repository
from aiframe.workspaces.git_errors import DAMAGED, GitError
from aiframe.workspaces.host import first_line
from aiframe.workspaces.linked import BACKUP, Linked, backup_name, same
from aiframe.workspaces.locks import markers_of
from aiframe.workspaces.packs import is_whole, move_packs, pack, proven_packs
from aiframe.workspaces.vault_refs import read_refs
from aiframe.workspaces.worktree import Way, drop_entries, entries_for, move_branch, put_aside, refuse_checked_out

GIVEN = "given.json"
STASH = "refs/stash"
LOG_BYTES = 64 * 1024
"""How much of a log of stashes is read: some hundred of them."""


class Given(Struct, frozen=True):
    """What the agent's .git was last known to have: the commit of its branch, and a digest of where history ends.

    All that the commit *covered* holds is in *packs*, by which sizes and times they have.
    """

    commit: str = ""
    shallow: str = ""
    covered: str = ""
    packs: dict[str, tuple[int, int]] = {}

    def still_in(self, inner: Path) -> bool:
        """Whether the packs are in the git directory *inner* as they were."""
        return packs_in(inner).items() >= self.packs.items()


class Cloned(Linked):
    """A task's workspace as a clone: aiframe's git works by the entry beside it, and never by the .git inside."""

    __slots__ = ()
    is_clone = True

    def __init__(self, root: Path, branch: str, host_dir: Path) -> None:
        super().__init__(root, branch, host_dir, entry_of(root))

    def fault(self) -> str:
        """What is wrong with the entry; empty where nothing is."""
        if self.root.is_symlink() or not self.root.is_dir():
            return "it is no folder"
        if not is_entry(self.git_dir, self.host_dir, self.root):
            return f"{self.git_dir} is not the entry for it"
        if first_line(self.git_dir / "HEAD") != f"ref: refs/heads/{self.branch}":
            return f"{self.git_dir}/HEAD does not name {self.branch}"
        return ""

    @property
    def inner(self) -> Path:
        """The agent's own git directory."""
        return self.root / ".git"


def entry_of(path: Path) -> Path:
    """Where the entry for the workspace at *path* lies: no task's folder has a name like that."""
    return path.with_name(f".{path.name}.git")


def is_entry(entry: Path, host_dir: Path, path: Path) -> bool:
    """Whether *entry* is one for the folder *path* and the repository *host_dir*."""
    if entry.is_symlink() or not entry.is_dir():
        return False
    shared = first_line(entry / "commondir")
    return bool(shared) and same(Path(shared), host_dir) and first_line(entry / "gitdir") == str(path / ".git")


# Made, cleared and removed


def clear_clone(host: Repository, path: Path) -> tuple[str, ...]:
    """Clear away what a killed command left of the clone at *path*, and an entry for a folder that is gone."""
    for left in path.parent.glob(f".{path.name}.new-*"):
        sweep(left)
    others, entry = entries_for(host, path), entry_of(path)
    if not others and path.is_dir() and not path.is_symlink() and is_entry(entry, host.common_dir, path):
        return ()
    notes = put_aside(path) if os.path.lexists(path) else ()
    drop_entries(others)
    remove(entry)
    return notes


def add_clone(host: Repository, path: Path, branch: str, held: tuple[int, ...]) -> None:
    """Make the folder and its entry, as yet without files and without a .git of its own: ``give`` makes that."""
    refuse_checked_out(host, branch)
    sweep_rooms(host)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with nursery(path) as fresh:
            (fresh / "entry" / "aiframe").mkdir(parents=True)
            (fresh / "entry" / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
            (fresh / "entry" / "commondir").write_bytes(os.fsencode(host.common_dir) + b"\n")
            (fresh / "entry" / "gitdir").write_bytes(os.fsencode(path / ".git") + b"\n")
            os.rename(fresh / "entry", entry_of(path))
        path.mkdir()
    except OSError as error:
        raise GitError("clone", f"{path}: {error.strerror or error}") from error


def drop_clone(host: Repository, linked: Linked, held: tuple[int, ...], date: float) -> list[str]:
    """Remove folder and entry; the refs that keep what an agent committed on branches of its own."""
    assert isinstance(linked, Cloned)
    try:
        kept = keep_side_branches(linked, date)
        os.chmod(linked.root, stat.S_IRWXU)
        with nursery(linked.root) as gone:
            os.rename(linked.root, gone / "folder")
            remove(linked.git_dir)
    except OSError as error:
        raise GitError("clone", f"{linked.root}: {error.strerror or error}") from error
    return kept


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


def clone_at(path: Path) -> Cloned:
    """The clone at *path*, by what its entry says. Raises GitError where that cannot be."""
    entry = entry_of(path)
    branch = first_line(entry / "HEAD").removeprefix("ref: refs/heads/")
    return Cloned(path, branch, Path(first_line(entry / "commondir") or entry))


# To the agent


def give(cloned: Repository) -> None:
    """Make the agent's .git what aiframe writes there, with the branch and what it holds; it is made where it is gone.

    Commits and branches that an agent has there stay; settings, hooks and half-done merges of its own do not.
    A linked worktree needs none of this. Raises GitError; then it may be called again.
    """
    if not isinstance(cloned, Cloned):
        return
    try:
        with nursery(cloned.root) as fresh, clean_room(cloned) as room:
            _give(cloned, room, fresh)
    except OSError as error:
        raise GitError("clone", f"{cloned.root}: {error.strerror or error}") from error


def _give(cloned: Cloned, room: CleanRoom, fresh: Path) -> None:
    before, commit = read_given(cloned), head(cloned).commit
    shallow = digest(cloned.common_dir / "shallow")
    new = not is_folder(cloned.inner)
    inner = fresh / "git" if new else cloned.inner
    if new:
        (inner / "objects" / "pack").mkdir(parents=True)
    else:
        strip(inner)
    have = before.covered if not new and before.shallow == shallow else ""
    if have and not before.still_in(inner):  # whoever tidies up throws our packs away; what counts is what is there
        if not is_whole(room, inner, commit):
            remove(inner)
            _give(cloned, room, fresh)
            return
        have = commit
    if have != commit:
        have = have if have and cloned.holds(have) else ""
        wanted = (commit, *(write_tags(cloned, inner, commit) if new else ()))
        packs = pack(room, fresh, wanted, have, cloned.common_dir / "objects")
        move_packs(packs, inner / "objects" / "pack", over=True)
    write_own_files(cloned, room, inner)
    if before.commit != commit or not (inner / "index").is_file():
        room.load(commit)
        shutil.copy2(room.index, fresh / "index")
        put(fresh / "index", inner / "index")
    write_branch(inner, cloned.branch, commit)
    write_given(cloned, Given(commit, shallow, commit, packs_in(inner)))
    if new:
        remove(cloned.inner)
        os.rename(inner, cloned.inner)
        sync_folder(cloned.root)


def write_tags(cloned: Cloned, inner: Path, commit: str) -> tuple[str, ...]:
    """Write the tags in the history of *commit*, by which programs tell a version; what they name."""
    form = "--format=%(objectname) %(refname)"
    listed = cloned.run("for-each-ref", form, f"--merged={commit}", "refs/tags")
    (inner / "packed-refs").write_bytes(listed)
    return tuple(line.partition(b" ")[0].decode() for line in listed.splitlines())


def write_own_files(cloned: Cloned, room: CleanRoom, inner: Path) -> None:
    """Write the configuration, the lists of ignored files and attributes, HEAD, and where a shallow history ends."""
    who = cloned.identity()
    user = "".join(f"\t{key} = {quoted(value)}\n" for key, value in (("name", who.name), ("email", who.email)))
    own = (room.home / "config").read_text(errors="surrogateescape")
    text = f"{own}[user]\n{user}[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    replace_file(inner / "config", text.encode("utf-8", "surrogateescape"), durable=False)
    replace_file(inner / "HEAD", f"ref: refs/heads/{cloned.branch}\n".encode(), durable=False)
    (inner / "info").mkdir()
    (inner / "refs").mkdir(exist_ok=True)
    for source in (*(room.home / "info").iterdir(), cloned.common_dir / "shallow"):
        if source.is_file():
            shutil.copyfile(source, inner / ("" if source.name == "shallow" else "info") / source.name)


def quoted(value: str) -> str:
    """*value* as git's configuration writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# From the agent


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


CLONE = Way(Cloned, clear_clone, add_clone, take, drop_clone)


# What is known


@contextmanager
def nursery(path: Path) -> Iterator[Path]:
    """A folder beside *path* for what is not whole yet; ``clear_clone`` removes one that a killed process left."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        yield fresh
    finally:
        remove(fresh)


def read_given(cloned: Cloned) -> Given:
    """What the agent's .git was last known to have."""
    try:
        return convert(json.loads((cloned.private_dir / GIVEN).read_bytes()), Given)
    except (OSError, ValueError):
        return Given()


def write_given(cloned: Cloned, given: Given) -> None:
    """Remember it. Where that is lost, what an agent committed goes to a backup ref in place of its branch."""
    replace_file(cloned.private_dir / GIVEN, json.dumps(to_builtins(given)).encode(), durable=False)


def packs_in(inner: Path) -> dict[str, tuple[int, int]]:
    """The files of packs in the git directory *inner*, with what changes when they do."""
    seen = ((file.name, file.stat()) for file in (inner / "objects" / "pack").iterdir())
    return {name: (found.st_size, found.st_mtime_ns) for name, found in seen}


def digest(file: Path) -> str:
    """A hash of what *file* holds; empty where there is none."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
