"""Whose turn it is to land: work of several tasks comes onto one branch one by one, each proven on what came before.

Without a turn nothing wrong can land, for the branch moves by compare-and-swap; but whoever is overtaken has to prove
its work again, and might be overtaken for ever.
"""

from __future__ import annotations

import fcntl
import os
import time
from types import TracebackType
from typing import Self

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.linked import find_origin
from aiframe.app.project.site import Site
from aiframe.core.errors import StepError
from aiframe.process import now

LOCK = "landing.lock"
PATIENCE_S = 900.0
"""How long a turn is waited for: who has it may have to run checks of any length."""
_POLL_S = 0.1
_BEAT_S = 30.0


class LandingTurn:
    """Taken at most once in a block, and given back at its end, however that comes."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take(self, site: Site, stop: Stop) -> None:
        """Wait until nobody else is about to land in the repository that *site* works for; goes on without a turn where
        that takes too long, or the step is to end. Raises StepError where the lock cannot be made.
        """
        if self._descriptor is not None:
            return
        host, _ = find_origin(site)
        path = host.common_dir / "aiframe" / LOCK
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            cure = "make the repository's .git folder and all in it readable and writable for you"
            raise StepError(f"{path}: {error.strerror or error}", hint=cure) from error
        self._descriptor = descriptor
        give_up, beat = time.monotonic() + PATIENCE_S, 0.0
        while not stop() and time.monotonic() < give_up:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= beat:
                    site.store.beat(now())
                    beat = time.monotonic() + _BEAT_S
            time.sleep(_POLL_S)
