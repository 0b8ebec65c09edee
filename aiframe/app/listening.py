"""Hears what changes in a few hundred or thousand folders, each by itself and never a whole tree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from watchfiles import Change

_WAIT_MS = 100
_STEP_MS = 10
_GROUP_MS = 50


class Ears:
    """The changes in a set of folders that may itself change. Where the system grants no file events, it only waits."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._folders: frozenset[str] = frozenset()
        self._changes: Generator[set[tuple[Change, str]], None, None] | None = None
        self._deaf = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def listen_to(self, folders: Iterable[str]) -> bool:
        """Hear those of *folders* that exist from now on; whether that is new, so that changes may have been missed."""
        wanted = frozenset(folder for folder in folders if os.path.isdir(folder))
        if self._deaf or (wanted == self._folders and (self._changes is not None or not wanted)):
            return False
        self._close()
        self._folders = wanted
        if wanted:
            self._open()
        return True

    def hear(self) -> list[str]:
        """The paths that have changed; none after a tenth of a second without a change."""
        if self._changes is None:
            time.sleep(_WAIT_MS / 1000)
            return []
        try:
            return [path for _, path in next(self._changes)]
        except (OSError, RuntimeError, StopIteration):  # a folder was removed just now, or the system refuses
            self._close()
            return []

    def _open(self) -> None:
        from watchfiles import watch

        self._changes = watch(
            *self._folders, watch_filter=None, step=_STEP_MS, debounce=_GROUP_MS, rust_timeout=_WAIT_MS,
            yield_on_timeout=True, recursive=False,
        )  # fmt: skip
        try:
            next(self._changes)
        except FileNotFoundError:
            self._close()  # removed meanwhile: the next call leaves it out
        except (OSError, RuntimeError) as error:
            self._close()
            self._deaf = True
            self._say(f"no file events here, so only the timer looks: {error}")

    def _close(self) -> None:
        changes, self._changes = self._changes, None
        if changes is not None:
            with suppress(OSError, RuntimeError):
                changes.close()
