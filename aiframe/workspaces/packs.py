"""Objects carried from one repository to another in packs, without git reading the settings of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiframe.durable import sync_folder
from aiframe.workspaces.agent_git import PACK_SUFFIXES, put
from aiframe.workspaces.cleanroom import CleanRoom
from aiframe.workspaces.git_errors import checked

PACKING_S = 3600.0


def pack(room: CleanRoom, fresh: Path, wanted: Sequence[str], have: str, objects: Path) -> Path:
    """Write packs with all that *wanted* holds and *have* does not, from the folder *objects*; the folder of packs.

    They go into a store in *fresh*, which git is told borrows from *objects*: there it writes nothing.
    """
    store = lend(fresh, objects)
    revisions = "".join(f"{line}\n" for line in (*wanted, *([f"^{have}"] if have else ())))
    args = ("pack-objects", "-q", "--revs", "--non-empty", "--delta-base-offset", str(store / "pack" / "pack"))
    checked("pack-objects", room.call(*args, stdin=revisions.encode(), objects=store, timeout_s=PACKING_S))
    return store / "pack"


def lend(fresh: Path, objects: Path) -> Path:
    """A new folder of objects in *fresh* that borrows from *objects*."""
    store = Path(tempfile.mkdtemp(prefix="store-", dir=fresh))
    (store / "info").mkdir()
    (store / "pack").mkdir()
    (store / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")
    return store


def move_packs(packs: Path, place: Path, *, over: bool) -> None:
    """Move what is in the folder *packs* to *place*, *over* what is called the same; git sees a pack by its index."""
    for file in sorted(packs.glob("pack-*"), key=lambda file: PACK_SUFFIXES.index(file.suffix)):
        if over or not (place / file.name).exists():
            put(file, place / file.name)
    sync_folder(place)


def is_whole(room: CleanRoom, inner: Path, commit: str) -> bool:
    """Whether the git directory *inner* holds *commit* with all its history."""
    args = ("rev-list", "--quiet", "--objects", commit)
    return room.call(*args, objects=inner / "objects", timeout_s=PACKING_S).code == 0


def proven_packs(room: CleanRoom, fresh: Path, packs: Path, objects: Path) -> Path:
    """Those in the folder *packs*, proven to fit to *objects*; the folder of them.

    Every object is named by what it holds, and what it refers to is in the packs or in *objects*. Raises GitError.
    """
    store = lend(fresh, objects)
    for file in packs.glob("*.pack"):  # and not its index, which is made from what its source says of itself
        os.rename(file, store / "pack" / file.name)
        args = ("index-pack", "--strict", str(store / "pack" / file.name))
        checked("index-pack", room.call(*args, objects=store, timeout_s=PACKING_S))
    return store / "pack"
