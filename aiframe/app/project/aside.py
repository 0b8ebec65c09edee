"""Files that a person steers by and that were changed while a step ran, which does not count.

The check after the step puts them back, for the step itself may have changed them. The changed version lies in
quarantine, and waits here until a person has taken or dropped it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from aiframe.app.project.observe import read_text
from aiframe.core.errors import AiframeError
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.layout import Layout

REVIEW_WORDS = ("notes/review_approval.md", "notes/review_rejection.md")
_STEERING = ("PROJECT.yaml", "AGENTS.md", "DIAGNOSE_AGENT.md", *REVIEW_WORDS)
DOCUMENTS = ("SPEC.md", "ROLES.md")
"""Of these only what tasks side by side have changed at the same time lies there."""
_RUNS = 50
"""How many of the last runs that had something put aside are looked through."""


class PutAside(Struct, frozen=True):
    """A changed version of the file *path* (relative to the project), as it lies at *kept*."""

    path: str
    kept: Path

    @property
    def why(self) -> str:
        """Why it does not count by itself."""
        if self.path in DOCUMENTS:
            return "it was changed by several tasks at once, and their changes do not go together"
        return "it was changed while a step ran, which does not count"

    @property
    def is_word(self) -> bool:
        """Whether it is what a person said about a review."""
        return self.path in REVIEW_WORDS


def put_aside(layout: Layout) -> tuple[PutAside, ...]:
    """What waits for a person: of each file the last version that was put aside. Raises StorageError.

    A version that stands in its place by now, or that a person has dropped, does not wait; nor does a word about a
    review when another review has been closed since.
    """
    done = set(read_text(layout.dealt_with).splitlines())
    newest: dict[str, PutAside] = {}
    with storage_errors(layout.quarantine_dir, "read"):
        for one in _versions(layout):
            newest.setdefault(one.path, one)
        return tuple(one for one in newest.values() if _label(layout, one) not in done and not _is_over(layout, one))


def deal_with(layout: Layout, these: Iterable[PutAside]) -> None:
    """Let *these* wait no longer; the files stay where they are. Hold the mutex. Raises StorageError."""
    done = [*read_text(layout.dealt_with).splitlines(), *(_label(layout, one) for one in these)]
    make_folder(layout.dealt_with.parent)
    write_durable(layout.dealt_with, "".join(f"{line}\n" for line in dict.fromkeys(done)))


def _versions(layout: Layout) -> Iterator[PutAside]:
    """All versions of steering files in quarantine, the newest first: run ids begin with the time."""
    runs = sorted((path for path in layout.quarantine_dir.glob("*/project") if path.is_dir()), reverse=True)
    for folder in runs[:_RUNS]:
        found: list[tuple[str, int, Path]] = []
        for kept in folder.rglob("*"):
            path, number = _version(kept.relative_to(folder).as_posix())
            if path and kept.is_file() and not kept.is_symlink():
                found.append((path, number, kept))
        yield from (PutAside(path, kept) for path, _, kept in sorted(found, key=lambda one: -one[1]))


def _version(name: str) -> tuple[str, int]:
    """The file that *name* is a version of, and which one: quarantine calls them NAME, NAME.2, NAME.3."""
    numbered = re.fullmatch(r"(.+)\.([0-9]+)", name)
    for path, number in ((name, 1), (numbered[1], int(numbered[2])) if numbered else ("", 0)):
        if path in (*_STEERING, *DOCUMENTS) or (path.startswith("prompts/") and path.endswith((".j2", ".md"))):
            return path, number
    return "", 0


def _label(layout: Layout, one: PutAside) -> str:
    return one.kept.relative_to(layout.quarantine_dir).as_posix()


def _is_over(layout: Layout, one: PutAside) -> bool:
    shelf = layout.notes / "reviews"
    if one.is_word and shelf.is_dir() and shelf.stat().st_mtime_ns > one.kept.parent.stat().st_mtime_ns:
        return True
    with suppress(AiframeError, FileNotFoundError):
        return read_bounded(layout.root / one.path) == read_bounded(one.kept)
    return False
