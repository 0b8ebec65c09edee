"""Changes carried over from where they were made to another commit, without touching a file or a ref."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.workspaces.cleanroom import CleanRoom, clean_room
from aiframe.workspaces.git import Repository
from aiframe.workspaces.trees import ABSENT, GITLINK, Change, changed_files, covered, stage

LINK = "120000"


class Carried(Struct, frozen=True):
    """The tree that came of it, or *conflicts*: the files that both sides changed, each in its own way."""

    tree: str
    conflicts: tuple[str, ...] = ()


def carry_over(repo: Repository, old: str, new: str, onto: str, control_paths: Sequence[str]) -> Carried:
    """Apply what differs from *old* to *new* (commits or trees) to *onto*, *control_paths* left out.

    A file that *onto* has changed too is merged line by line. Nothing of the repository's configuration takes part.
    """
    changes = [change for change in changed_files(repo, old, new) if not covered(change.path, control_paths)]
    theirs = {change.path: change for change in changed_files(repo, old, onto)}
    with clean_room(repo) as room:
        room.load(onto)
        merged = [_merged(room, old, change, theirs.get(change.path)) for change in changes]
        conflicts = [change.path for change, done in zip(changes, merged, strict=True) if done is None]
        if conflicts:
            return Carried("", tuple(conflicts))
        stage(room, [change for change in merged if change is not None])
        tree = room.run("write-tree").decode().strip()
    wanted = {change.path for change in changes}
    swept = [change.path for change in changed_files(repo, onto, tree) if change.path not in wanted]
    return Carried("", tuple(swept)) if swept else Carried(tree)  # a file took the place of a folder, or the reverse


def _merged(room: CleanRoom, old: str, ours: Change, theirs: Change | None) -> Change | None:
    """What to do to one file where *theirs* was done to it already; None where the two do not go together."""
    if theirs is None:
        return ours
    if (ours.mode, ours.blob) == (theirs.mode, theirs.blob):
        return ours
    both = {ours.mode, theirs.mode}
    if ABSENT in both or ours.old_mode == ABSENT or both & {LINK, GITLINK}:
        return None
    if len(both) == 2 and ours.old_mode not in both:
        return None
    mode = theirs.mode if ours.mode == ours.old_mode else ours.mode
    blob = _merged_text(room, room.repo.text("rev-parse", "--verify", f"{old}:{ours.path}"), ours.blob, theirs.blob)
    return None if blob is None else replace(ours, mode=mode, blob=blob)


def _merged_text(room: CleanRoom, base: str, ours: str, theirs: str) -> str | None:
    """The blob of a three-way merge, None for a conflict or for what is no text."""
    files: list[Path] = []
    for name, blob in (("theirs", theirs), ("base", base), ("ours", ours)):
        files.append(room.home / f"merge-{name}")
        files[-1].write_bytes(room.repo.run("cat-file", "blob", blob))
    done = room.call("merge-file", "-p", "-q", *map(str, files))
    if done.code != 0:
        return None
    return room.run("hash-object", "-w", "--stdin", stdin=done.out).decode().strip()
