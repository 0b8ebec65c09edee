"""Who works in the workspace of a task: one run at a time, also where its project's folder was removed beneath it.

A file in the repository's own folder, held (flock) by the runner and by nothing that it starts. It names the run, so
that whoever comes after a runner that was killed can end what is left of it.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from aiframe.core.errors import StepError
from aiframe.flocks import try_lock
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import CANNOT_WRITE

FOLDER = "at-work"


class Holding:
    """The right to work on the task *task_id* of the project in *root*, where the work goes to *host*."""

    def __init__(self, host: Repository, root: Path, task_id: str) -> None:
        name = hashlib.sha256(f"{root}\0{task_id}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path: Path = host.common_dir / "aiframe" / FOLDER / name
        self._descriptor: int = -1

    def take(self) -> bool:
        """Take it where nobody has it. Raises StepError where that cannot be told."""
        while self._descriptor < 0:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self._path, flags, 0o644)
            except OSError as error:
                raise StepError(f"{self._path}: {error.strerror or error}", hint=CANNOT_WRITE) from error
            if not try_lock(descriptor):
                os.close(descriptor)
                return False
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    self._descriptor = descriptor
                    continue
            os.close(descriptor)  # who had it has given it back meanwhile, with its file
        return True

    def former_run(self) -> str:
        """The run of a runner that had it and was killed; empty for none. To be called by who has it."""
        return os.pread(self._descriptor, 4096, 0).decode("utf-8", "replace").strip()

    def name_run(self, run_id: str) -> None:
        """Say which run has it now. Raises StepError."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, run_id.encode(), 0)
        except OSError as error:
            raise StepError(f"{self._path}: {error.strerror or error}", hint=CANNOT_WRITE) from error

    def give_back(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self.let_go()

    def let_go(self) -> None:
        """Let others have it, who then look after the run that it names."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(host: Repository, root: Path, task_id: str) -> bool:
    """Whether a living run works on the task. Raises StepError where that cannot be told."""
    holding = Holding(host, root, task_id)
    try:
        return not holding.take()
    finally:
        holding.let_go()
