"""What a step must leave alone, remembered before it: which files of a project and of its .git, and how they were."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.core.errors import StepError
from aiframe.durable import replace_file
from aiframe.workspaces.cleanroom import NOTE
from aiframe.workspaces.git import Repository
from aiframe.workspaces.loose import plain_bytes
from aiframe.workspaces.vault_files import Entry, digest, snapshot
from aiframe.workspaces.vault_refs import Refs, read_refs

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
PERSONS_PARTS = ("shallow", "config.lock", "packed-refs.lock", "shallow.lock")
"""Of SHARED_PARTS what a person's own git changes in passing: not sealed in a repository that is shared with one."""
NEIGHBOUR_PARTS = ("commondir", "config.worktree")
_NOTHING = hashlib.sha256(b"").hexdigest()
MODULE_PARTS = ("config", "config.worktree", "hooks", *INFO_PARTS, "commondir", "objects/info/alternates")


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


def cache_digest(git_dir: Path) -> str:
    """A hash of aiframe's index and of the note beside it; empty where there is no index."""
    index, note = (plain_bytes(file, -1) for file in cache_files(git_dir))
    told = f"{len(index)}:".encode() + index + note
    return hashlib.sha256(told).hexdigest() if index else ""
