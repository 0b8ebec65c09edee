"""aiframe's own files while jobs are at work: their commands may remove them, wherever the sandbox lets them.

What the runner knows is written anew then, so that no end is lost and nothing begins again for that; but the run is
over, and the project stops: only a person can tell which command it was, and bring a history back.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from aiframe.app.jobs.ends import EndsFile
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.model import Failure, FailureKind
from aiframe.store.control import bring_back, hold_records
from aiframe.store.layout import IGNORED
from aiframe.workspaces.create import ensure_repository


class Kept:
    """What the runner holds of aiframe's own files. Raises StorageError where they cannot be read."""

    def __init__(self, site: Site, ends: EndsFile) -> None:
        self._site, self._ends = site, ends
        self._git = _identity(site.layout.git_dir)
        self._records = hold_records(site.layout)

    def renew(self) -> None:
        """aiframe has written its record itself."""
        self._records = hold_records(self._site.layout)

    @property
    def lost(self) -> str:
        """What is gone, as a person knows it; empty for nothing."""
        layout = self._site.layout
        if _identity(layout.git_dir) != self._git:
            return ".git"
        return "" if self._ends.is_there() and layout.control_json.exists() else ".git/aiframe"

    def bring_back(self) -> Failure | None:
        """Write anew what is gone, once none of the jobs lives any more; why the run is over, None for nothing gone.

        Where all of .git was removed a new one is made, without what was committed. Raises StorageError.
        """
        lost, layout = self.lost, self._site.layout
        if not lost:
            return None
        cure = "find the command that did it among the jobs that were at work, then `aiframe resume`"
        if lost == ".git":
            cure = f"{cure}; that goes on with a new history where you do not bring .git back from a copy before"
            with suppress(AiframeError):  # of half a .git the next tick says what is wrong with it
                ensure_repository(self._site.root, IGNORED)
        bring_back(layout, self._records)
        self._ends.bring_back()
        return Failure(FailureKind.SETUP, f"{lost} was removed while jobs were at work", cure)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino
