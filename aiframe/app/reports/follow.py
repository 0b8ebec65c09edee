"""Show what steps print, while they print it: the readable logs, one run of a chain after the other, and the journal.

Reads only. Nothing here needs the run that it follows: it may be anybody's, and it goes on when the follower leaves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias

from aiframe.app.project.steplog import plain
from aiframe.core.errors import UnreadableFile, UsageError
from aiframe.store.atomic import storage_errors
from aiframe.store.control import read_control
from aiframe.store.journal import Event, Once, events_from
from aiframe.store.layout import Layout, is_safe_name
from aiframe.store.locks import is_run_locked

Out: TypeAlias = Callable[[str], None]
Pause: TypeAlias = Callable[[float], None]

_POLL_S = 0.02
_PREFIX, _SUFFIX = "tick-", ".log"
_CHUNK = 64 * 1024
_TAIL = 256 * 1024
_SETTLED_NS = 1_000_000_000
"""A folder that changed longer ago than this cannot change again without its time of change telling."""


# Runs -----------------------------------------------------------------------------------------------------------------


def log_names(layout: Layout) -> frozenset[str]:
    """The names of the logs that are there now: what a follower who comes later need not show."""
    return frozenset(entry.name for entry in _log_entries(layout))


def logged_runs(layout: Layout) -> frozenset[str]:
    """The ids of the runs that have a log."""
    return frozenset(_run_id(name) for name in log_names(layout))


def follow_run(layout: Layout, out: Out, *, before: frozenset[str] | None = None, pause: Pause = time.sleep) -> str:
    """Show the run that is alive from its beginning, then each run that follows, until no runner is alive.

    *before* are the logs (`log_names`) from before the runner was started; without it every log but that of the
    current run counts as old. *out* gets one line. The id of the last run shown; empty where there was none.
    """
    with _Follower(layout, out, _older(layout) if before is None else before) as follower:
        while True:
            alive = is_run_locked(layout)  # asked first, so that what it wrote before it ended is shown below
            follower.show_news()
            if not alive:
                return follower.run_id
            pause(_POLL_S)


def follow_log(
    layout: Layout, run_id: str | None, out: Out, stop: Callable[[], bool], *, pause: Pause = time.sleep
) -> None:
    """Show the log of *run_id* until that run has ended; with None the newest log and what comes after, until *stop*.

    Raises UsageError where *run_id* has no log.
    """
    path = _log_of(layout, run_id) if run_id is not None else newest_log(layout)
    with _Follower(layout, out, log_names(layout)) as follower:
        if path is not None:
            follower.open(path.name)
        while True:
            # Asked first, so that what came before the end is shown below.
            last = stop() or (run_id is not None and not _is_alive(layout, run_id))
            if run_id is None:
                follower.show_news()
            else:
                follower.show_more()
            if last:
                return
            pause(_POLL_S)


def print_log(layout: Layout, run_id: str | None, out: Out) -> None:
    """Show the log of *run_id*, or the newest, as far as it is there. Raises UsageError where there is none."""
    path = _log_of(layout, run_id) if run_id is not None else newest_log(layout)
    if path is None:
        raise UsageError(f"no step has run yet in {layout.root}", hint="`aiframe tick` starts one")
    with _Follower(layout, out, frozenset()) as follower:
        follower.open(path.name)
        follower.show_more()


def newest_log(layout: Layout) -> Path | None:
    """The log that was written last; None where no step has run."""
    newest = max(_log_entries(layout), key=_age_key, default=None)
    return layout.logs / newest.name if newest is not None else None


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last *count* lines of a log, of its last 256 KiB at most; none where the file is missing."""
    if count <= 0:
        return ()
    with storage_errors(path, "read"):
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            return ()
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size - _TAIL)
            data = os.pread(descriptor, _TAIL, start)
        finally:
            os.close(descriptor)
    lines = plain(data.decode("utf-8", "replace")).splitlines()
    return tuple((lines[1:] if start and len(lines) > 1 else lines)[-count:])


class _Follower:
    """Shows one log after the other, in the order in which they were written; holds one open file and one line."""

    def __init__(self, layout: Layout, out: Out, known: frozenset[str]) -> None:
        self.layout = layout
        self.run_id = ""
        self._out = out
        self._known = set(known)
        self._descriptor: int | None = None
        self._held = bytearray()
        self._folder_ns = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show_news(self) -> None:
        """Show what the open log got, and the logs that have appeared since."""
        for name in self._new_logs():
            self.open(name)
        self.show_more()

    def show_more(self) -> None:
        """Show what the open log got."""
        while self._descriptor is not None and (chunk := os.read(self._descriptor, _CHUNK)):
            *whole, rest = (bytes(self._held) + chunk).split(b"\n")
            for line in whole:
                self._say(line)
            self._held = bytearray(rest)
            if len(self._held) > _CHUNK:
                self._say_rest()

    def open(self, name: str) -> None:
        """Go on with the log *name*, once the open one is shown to its end."""
        self.close()
        self._known.add(name)
        path = self.layout.logs / name
        with storage_errors(path, "read"), suppress(FileNotFoundError):  # it was removed meanwhile
            self._descriptor = _open(path)
            self.run_id = _run_id(name)

    def close(self) -> None:
        """Show the rest of the open log and close it."""
        if self._descriptor is None:
            return
        try:
            self.show_more()
            self._say_rest()
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def _new_logs(self) -> Iterator[str]:
        """The logs that were not there before, in order; the folder is read only when it can have changed."""
        try:
            changed = os.stat(self.layout.logs).st_mtime_ns
        except OSError:
            return
        if changed == self._folder_ns:
            return
        fresh = [entry for entry in _log_entries(self.layout) if entry.name not in self._known]
        # Two logs can begin within one tick of the file system's clock: a fresh time of change is no proof yet.
        self._folder_ns = changed if time.time_ns() - changed > _SETTLED_NS else -1
        yield from (entry.name for entry in sorted(fresh, key=_age_key))

    def _say_rest(self) -> None:
        if self._held:
            self._say(bytes(self._held))
            self._held.clear()

    def _say(self, line: bytes) -> None:
        self._out(plain(line.decode("utf-8", "replace")))


def _older(layout: Layout) -> frozenset[str]:
    """Every log but that of the current run; listed first, so that a run which begins meanwhile counts as new."""
    names = log_names(layout)
    run_id = _current_run(layout)
    return names - {layout.tick_log(run_id).name} if run_id else names


def _is_alive(layout: Layout, run_id: str) -> bool:
    return is_run_locked(layout) and _current_run(layout) == run_id


def _current_run(layout: Layout) -> str:
    try:
        record = read_control(layout)
    except UnreadableFile:
        return ""
    return record.project.run.run_id if record is not None and record.project.run is not None else ""


def _log_of(layout: Layout, run_id: str) -> Path:
    path = layout.tick_log(run_id)
    if not path.is_file() or path.is_symlink():
        raise UsageError(f"there is no log of a run {run_id!r}", hint="`aiframe events` lists the run ids")
    return path


def _log_entries(layout: Layout) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(layout.logs) as entries:
            return [entry for entry in entries if _run_id(entry.name) and entry.is_file(follow_symlinks=False)]
    except OSError:  # not there yet, or an agent made something else of it, which the next step puts right
        return []


def _run_id(name: str) -> str:
    """The id of the run whose log is called *name*; empty for other files."""
    if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
        return ""
    run_id = name[len(_PREFIX) : -len(_SUFFIX)]
    return run_id if is_safe_name(run_id) else ""


def _age_key(entry: os.DirEntry[str]) -> tuple[int, str]:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns, entry.name
    except FileNotFoundError:
        return 0, entry.name


def _open(path: Path) -> int:
    # Not blocking and no links: whoever wrote into the folder must not make us hang or read something else.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


# The journal ----------------------------------------------------------------------------------------------------------


class NewEvents:
    """The events of a project's journal that have come since the last look, each once. Starts at its end."""

    def __init__(self, layout: Layout, *, from_start: bool = False) -> None:
        self._layout = layout
        self._offset = 0 if from_start else self._size()
        self._once = Once()

    def take(self) -> Iterator[Event]:
        """The new ones, the oldest first. One size is looked at where there are none."""
        size = self._size()
        if size < self._offset:  # somebody emptied it: what comes now is new
            self._offset = 0
        if size == self._offset:
            return
        for offset, event in events_from(self._layout, self._offset):
            self._offset = offset
            if self._once.is_new(event):
                yield event

    def _size(self) -> int:
        try:
            return os.stat(self._layout.events).st_size
        except OSError:
            return 0


def follow_events(
    layout: Layout, out: Callable[[Event], None], stop: Callable[[], bool], *, pause: Pause = time.sleep
) -> None:
    """Hand every event of the journal to *out*, from the first on and as they come, until *stop*."""
    news = NewEvents(layout, from_start=True)
    while True:
        last = stop()
        for event in news.take():
            out(event)
        if last:
            return
        pause(_POLL_S * 5)
