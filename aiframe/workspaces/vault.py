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

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.core.errors import StepError
from aiframe.durable import replace_file
from aiframe.workspaces.cleanroom import NOTE
from aiframe.workspaces.commits import Head, create_ref, current_branch, move_head, safe_ref
from aiframe.workspaces.git import OBJECT_ID, Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.loose import plain_bytes
from aiframe.workspaces.vault_files import Breach, Entry, Quarantine, failed, put_back, snapshot
from aiframe.workspaces.vault_refs import Refs, foreign_refs, put_refs_back, read_refs

__all__ = ["Breach", "Seal", "compare_and_restore", "seal", "settle_refs"]

QUARANTINED = "refs/aiframe/quarantine/"
SCHEMA = 1
INFO_PARTS = ("info/exclude", "info/attributes", "info/grafts", "info/sparse-checkout")
SHARED_PARTS = (
    "config", "hooks", *INFO_PARTS, "objects/info/alternates", "objects/info/http-alternates", "shallow",
    "config.lock", "packed-refs.lock", "shallow.lock",
)  # fmt: skip
OWN_PARTS = (
    "config.worktree", "commondir", "gitdir", "info/sparse-checkout", "index.lock", "HEAD.lock", "config.worktree.lock",
    "MERGE_HEAD", "MERGE_MSG", "MERGE_MODE", "AUTO_MERGE", "CHERRY_PICK_HEAD", "REVERT_HEAD", "SQUASH_MSG",
    "BISECT_START", "BISECT_LOG", "rebase-merge", "rebase-apply", "sequencer",
)  # fmt: skip
"""Of a git directory itself: also the half-done merges and rebases, whose to-do lists can name commands."""
STANDS_WHEN_CREATED = frozenset({"notes/interrupt.flag"})
"""A person may have made it, and stopping is safe."""
PERSONS_PARTS = ("shallow", "config.lock", "packed-refs.lock", "shallow.lock")
"""Of SHARED_PARTS what a person's own git changes in passing: not sealed in a repository that is shared with one."""
NEIGHBOUR_PARTS = ("commondir", "config.worktree")
_NOTHING = hashlib.sha256(b"").hexdigest()
MODULE_PARTS = ("config", "config.worktree", "hooks", *INFO_PARTS, "commondir", "objects/info/alternates")
LOST_OBJECTS = "restore .git from a backup or a clone; or move .git away, then the next step begins a new history"


class Seal(Struct, frozen=True):
    """What was there before the step of *run_id*. *places* maps project, git and own-git to their files.

    *head* is the text of .git/HEAD, *head_commit* the commit that it stood for, *cache* the digest of aiframe's index.
    *own_refs* is where the sealed refs begin; empty for all of them, in a repository that is the project's alone.
    """

    run_id: str
    root: Path
    git_dir: Path
    common_dir: Path
    control_files: tuple[str, ...]
    places: Mapping[str, Mapping[str, Entry]]
    head: str
    head_commit: str
    refs: Refs
    cache: str
    own_refs: str = ""

    @property
    def branch(self) -> str | None:
        """The full name of the branch that HEAD named; None for a detached HEAD."""
        return self.head.removeprefix("ref:").strip() if self.head.startswith("ref:") else None

    @property
    def near(self) -> list[str] | None:
        """The other worktrees that were there; None in a repository that is the project's alone."""
        known = (name.split("/") for name in self.places["git"] if name.endswith("/commondir"))
        return [parts[1] for parts in known if parts[0] == "worktrees"] if self.own_refs else None

    def write(self, path: Path) -> None:
        """Store the seal durably. Raises StepError when that fails."""
        record = {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "root": str(self.root),
            "git_dir": str(self.git_dir),
            "common_dir": str(self.common_dir),
            "control_files": list(self.control_files),
            "places": {place: {name: packed(e) for name, e in files.items()} for place, files in self.places.items()},
            "head": self.head,
            "head_commit": self.head_commit,
            "refs": self.refs.values,
            "packed_refs": base64.b64encode(self.refs.packed).decode(),
            "locks": sorted(self.refs.locks),
            "cache": self.cache,
            "own_refs": self.own_refs,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(record).encode(), 0o600)
        except OSError as error:
            raise StepError(
                f"{path}: {error.strerror or error}", hint="make room, or make .git writable, and run it again"
            ) from error

    @classmethod
    def read(cls, path: Path) -> Seal | None:
        """The seal that was stored at *path*; None when there is none that can be read."""
        try:
            record = json.loads(path.read_bytes())
            return cls(
                run_id=record["run_id"],
                root=Path(record["root"]),
                git_dir=Path(record["git_dir"]),
                common_dir=Path(record["common_dir"]),
                control_files=tuple(record["control_files"]),
                places={place: {n: unpacked(e) for n, e in files.items()} for place, files in record["places"].items()},
                head=record["head"],
                head_commit=record["head_commit"],
                refs=Refs(record["refs"], base64.b64decode(record["packed_refs"]), frozenset(record["locks"])),
                cache=record["cache"],
                own_refs=record.get("own_refs", ""),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def packed(entry: Entry) -> list[str | int]:
    """*entry* as JSON."""
    return [entry.kind, entry.mode, base64.b64encode(entry.data).decode()]


def unpacked(record: Sequence[str | int]) -> Entry:
    """The entry of a JSON record. Raises ValueError for anything else."""
    kind, mode, data = record
    if kind not in ("file", "link", "other"):
        raise ValueError(kind)
    return Entry(kind, int(mode), base64.b64decode(str(data)))  # type: ignore[arg-type]


def seal(
    root: Path, control_files: Sequence[str], run_id: str, own_refs: str = "", git_dir: Path | None = None
) -> Seal:
    """Remember what the step *run_id* must leave alone. *control_files* are relative; a folder stands for all in it.

    *own_refs*: the repository is shared with a person, and only the refs that begin so are aiframe's.

    *git_dir* is where aiframe's git works on the files, where that is not the one in *root*.

    Raises GitError for a folder without a repository of its own, StepError for files that cannot be read.
    """
    repo = Repository(root, git_dir)
    near = neighbours(repo.common_dir, repo.git_dir) if own_refs else None
    try:
        places = {
            place: snapshot(top, watched)
            for place, top, watched in watched_places(repo.root, repo.git_dir, repo.common_dir, control_files, near)
        }
        refs = read_refs(repo.common_dir, own_refs)
        text = (repo.git_dir / "HEAD").read_text(errors="surrogateescape").strip()
    except OSError as error:
        raise StepError(f"{error.filename}: {error.strerror}", hint="make it readable and run it again") from error
    commit = refs.values.get(text.removeprefix("ref:").strip(), "") if text.startswith("ref:") else text
    return Seal(
        run_id, repo.root, repo.git_dir, repo.common_dir, tuple(control_files), places, text, commit, refs,
        cache_digest(repo.git_dir), own_refs,
    )  # fmt: skip


def watched_places(
    root: Path, git_dir: Path, common_dir: Path, control_files: Sequence[str], near: Sequence[str] | None
) -> list[tuple[str, Path, list[str]]]:
    """Which files are sealed: (name of the place, its folder, paths in it).

    *near* are the other worktrees of a repository that is shared with a person, None for one that is not.
    """
    linked = git_dir != root / ".git" and git_dir.is_relative_to(common_dir)  # of a clone .git is the agent's own
    link = [".git"] if linked else []
    shared = [*SHARED_PARTS, *module_parts(common_dir)]
    if near is not None:
        shared = [part for part in shared if part not in PERSONS_PARTS]
        shared += ["config.worktree", *(f"worktrees/{name}/{part}" for name in near for part in NEIGHBOUR_PARTS)]
    return [
        ("own-git", git_dir, list(OWN_PARTS)),
        ("git", common_dir, shared),
        ("project", root, [*control_files, *link]),
    ]


def module_parts(common_dir: Path) -> list[str]:
    """What steers git in the submodules whose git directories lie in .git/modules."""
    found: list[str] = []
    for folder, folders, files in os.walk(common_dir / "modules"):
        if "HEAD" in files and "objects" in folders:
            rel = Path(folder).relative_to(common_dir)
            found += [str(rel / part) for part in MODULE_PARTS]
        folders[:] = [name for name in folders if name not in ("objects", "refs", "logs", "hooks", "info")]
    return found


def neighbours(common_dir: Path, git_dir: Path) -> list[str]:
    """The entries of the repository's other worktrees, a person's and those of other tasks, but for half-made ones."""
    entries = sorted((common_dir / "worktrees").glob("*/commondir"))
    return [entry.parent.name for entry in entries if entry.parent != git_dir and digest(entry) not in ("", _NOTHING)]


def with_cache(sealed: Seal) -> Seal:
    """*sealed* with aiframe's index as it is now, for aiframe has written it; nothing of the agent's may run by now.

    A forged one could hide a changed file; one that is needlessly given up has every file hashed again.
    """
    return replace(sealed, cache=cache_digest(sealed.git_dir))


def cache_files(git_dir: Path) -> tuple[Path, Path]:
    """aiframe's index in *git_dir*, and the note of what it holds."""
    return git_dir / "aiframe" / "index", git_dir / "aiframe" / NOTE


def digest(path: Path) -> str:
    """A hash of the file's content; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def cache_digest(git_dir: Path) -> str:
    """A hash of aiframe's index and of the note beside it; empty where there is no index."""
    index, note = (plain_bytes(file, -1) for file in cache_files(git_dir))
    told = f"{len(index)}:".encode() + index + note
    return hashlib.sha256(told).hexdigest() if index else ""


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
