"""A clone as a task's workspace: its folder, the entry beside it by which aiframe's git works, what is known of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct, convert, to_builtins

from aiframe.durable import replace_file
from aiframe.workspaces.agent_git import remove
from aiframe.workspaces.host import first_line
from aiframe.workspaces.linked import Linked, same

GIVEN = "given.json"


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


def clone_at(path: Path) -> Cloned:
    """The clone at *path*, by what its entry says. Raises GitError where that cannot be."""
    entry = entry_of(path)
    branch = first_line(entry / "HEAD").removeprefix("ref: refs/heads/")
    return Cloned(path, branch, Path(first_line(entry / "commondir") or entry))


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
