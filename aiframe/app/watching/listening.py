"""Hears what changes in a few hundred or thousand folders, each by itself and never a whole tree.

A companion process does it (`aiframe.app.watching.listener`), so that the watch stays a process of one thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from msgspec import Struct

from aiframe.core.errors import AiframeError
from aiframe.process.companion import Companion

_AGAIN_S = 2.0
"""A listener that dies is not started more often than this."""
_TRIES = 3
"""How many listeners in a row may die before they begin to listen."""


class Heard(Struct, frozen=True):
    """The *paths* that have changed. *missed*: others may have changed unheard, so look at all, and list all anew."""

    paths: tuple[str, ...] = ()
    missed: bool = False


class Ears:
    """The changes in a set of folders that may itself change. Where the system grants no file events, it only waits."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environ = environ
        self._say = say
        self._listener: Companion | None = None
        self._started = float("-inf")
        self._tries = 0
        self._wanted: dict[str, int] = {}
        self._held = b""
        self._deaf = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def listen_to(self, folders: Iterable[str]) -> None:
        """Hear those of *folders* that exist from soon on: `Heard.missed` tells when."""
        wanted = {folder: number for folder in set(folders) if (number := _number(folder))}
        if wanted != self._wanted:
            self._wanted = wanted
            if self._listener is not None:
                self._tell()
            elif wanted and not self._tries:
                self._start()

    def hear(self, timeout_s: float) -> Heard:
        """What has changed; nothing after *timeout_s* seconds without a change."""
        if self._deaf or not self._wanted:
            time.sleep(timeout_s)
            return Heard()
        if self._listener is None and time.monotonic() - self._started >= _AGAIN_S:
            self._start()
        if self._listener is None:
            time.sleep(timeout_s)
            return Heard()
        said = self._listener.receive(timeout_s)
        if said is None:
            return self._lose()
        *lines, self._held = (self._held + said).split(b"\n")
        return self._take([json.loads(line) for line in lines])

    def _take(self, told: list[list[str]]) -> Heard:
        paths: list[str] = []
        missed = False
        for kind, *words in told:
            if kind == "changed":
                paths += words
            elif kind == "deaf":
                self._give_up(*words)
            elif kind == "lost":
                missed = True
                self._wanted = {}  # the next call of `listen_to` leaves out what has gone
            else:
                missed = True
                self._tries = 0
        return Heard(tuple(paths), missed)

    def _lose(self) -> Heard:
        how = _how(self._close())
        if self._tries >= _TRIES:
            self._give_up(f"what listens for them does not start ({how})")
        elif self._tries <= 1:
            self._say(f"what listens for changes has died ({how}); another one takes its place")
        return Heard(missed=True)

    def _start(self) -> None:
        self._started = time.monotonic()
        self._tries += 1
        argv = [sys.executable, "-P", "-m", "aiframe.app.watching.listener"]
        try:
            self._listener = Companion(argv, cwd=Path("/"), env=self._environ)
        except AiframeError as error:
            self._give_up(error.message)
        self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener.send(json.dumps(sorted(self._wanted)).encode() + b"\n")

    def _give_up(self, reason: str) -> None:
        self._deaf = True
        self._close()
        self._say(f"no file events here, so only the timer looks: {reason}")

    def _close(self) -> int:
        listener, self._listener, self._held = self._listener, None, b""
        return listener.close() if listener is not None else 0


def _number(folder: str) -> int:
    """What tells a folder from one that takes its place; 0 where there is none."""
    try:
        return os.stat(os.path.join(folder, "")).st_ino
    except OSError:
        return 0


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
