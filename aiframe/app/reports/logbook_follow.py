"""The lines of a project and its lanes as they come: runs that end, lanes that open, logs that move or begin anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from aiframe.app.project.lanes import has_lanes, is_at_work
from aiframe.app.project.site import open_site
from aiframe.app.reports.explaining import explain_now
from aiframe.app.reports.logbook import Told, Wanted, places, run_logs, told_of, whole_end
from aiframe.core.errors import AiframeError
from aiframe.store.journal import Once, raw_lines
from aiframe.store.layout import Layout

Identity: TypeAlias = tuple[int, int]
Pause: TypeAlias = Callable[[float], None]

_POLL_S = 0.2
_REST_S = 3.0
"""How long nothing may live before a project counts as resting: between two steps there is a gap."""
_AT_ONCE = 2000
"""How many lines of one file are taken in one look, so that memory stays bounded."""
_SETTLED_NS = 1_000_000_000
_ASLEEP_S = 86_400.0
"""A log that nothing was added to for so long is not looked at any more."""


class News:
    """The lines that have come since it was made. Files are known by what they are, so that they may move."""

    def __init__(self, layout: Layout, wanted: Wanted) -> None:
        self._layout = layout
        self._wanted = wanted
        self._offsets: dict[Identity, int] = {}
        self._once = Once()
        self._listed: dict[Path, tuple[int, list[Path]]] = {}
        self.ends: dict[Path, int] = {}
        """How far each file had come at that moment: what is before has to be read apart."""
        for path, _, _ in self._files():
            with suppress(OSError):
                found = path.lstat()
                self.ends[path] = self._offsets[found.st_dev, found.st_ino] = whole_end(path)

    def known(self, told: Told) -> None:
        """*told* was shown already."""
        self._once.is_new(told.line, str(told.place))

    def take(self) -> list[Told]:
        """The new ones, the oldest first; where more have come than are held at once, the next look has the rest."""
        fresh = [told for path, place, task in self._files() for told in self._more(path, place, task)]
        return [
            told for told in sorted(fresh, key=lambda told: told.at) if self._once.is_new(told.line, str(told.place))
        ]

    def _files(self) -> Iterator[tuple[Path, Path, str]]:
        for place, task in places(self._layout):
            yield place.events, place.root, task
            for path in self._run_logs(place):
                yield path, place.root, task

    def _run_logs(self, place: Layout) -> list[Path]:
        """The logs of runs that something may yet be added to; the folder is read only when it can have changed."""
        folder = place.logs / "runs"
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        listed = self._listed.get(folder)
        if listed is None or listed[0] != changed:
            awake = [path for path in run_logs(place) if _is_awake(path)]
            # Two runs can begin within one tick of the file system's clock: a fresh time of change is no proof yet.
            settled = time.time_ns() - changed > _SETTLED_NS
            listed = self._listed[folder] = (changed if settled else -1, awake)
        return listed[1]

    def _more(self, path: Path, place: Path, task: str) -> Iterator[Told]:
        try:
            found = path.lstat()
        except OSError:
            return
        identity = (found.st_dev, found.st_ino)
        offset = self._offsets.get(identity, 0)
        if found.st_size < offset:  # somebody emptied it: what comes now is new
            offset = self._offsets[identity] = 0
        if found.st_size == offset:
            return
        for number, (after, raw) in enumerate(raw_lines(path, offset)):
            self._offsets[identity] = after
            told = told_of(raw, place, task, self._wanted)
            if told is not None:
                yield told
            if number >= _AT_ONCE:
                return


def _is_awake(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime < _ASLEEP_S
    except FileNotFoundError:
        return True  # its run has only just begun
    except OSError:
        return False


def follow(layout: Layout, news: News, out: Callable[[Told], None], *, pause: Pause = time.sleep) -> None:
    """Hand each new line to *out* until the project rests."""
    rests = until_rest(layout)
    while True:
        over = rests()  # asked first, so that what was written before the end is shown below
        while fresh := news.take():
            for told in fresh:
                out(told)
        if over:
            return
        pause(_POLL_S)


def until_rest(layout: Layout) -> Callable[[], bool]:
    """Whether the project rests, for somebody who asks again and again: no step lives there, and none is due at a known
    time."""
    since: float | None = None

    def rests() -> bool:
        nonlocal since
        if _is_alive(layout):
            since = None
        elif since is None:
            since = time.monotonic()
        elif time.monotonic() - since > _REST_S:
            since = time.monotonic()
            return not _wakes_up(layout)
        return False

    return rests


def _is_alive(layout: Layout) -> bool:
    """Whether a step lives, in the project or in a lane."""
    found = places(layout) if has_lanes(layout.root) else ((layout, ""),)
    return any(is_at_work(place) for place, _ in found)


def _wakes_up(layout: Layout) -> bool:
    """Whether the project, or a lane, goes on at a known time without anybody's doing."""
    for place, _ in places(layout):
        with suppress(AiframeError):
            until = explain_now(open_site(place.root, os.environ)).until
            if until is not None and until > time.time():
                return True
    return False
