"""All that is logged of a project as one stream of lines by their times: its journal, the log.jsonl of each run, and
those of its lanes with them.

Reads only, in bounded memory: of each file no more than a line is held, and of the files no more are open than runs
went on at the same time.
"""

from __future__ import annotations

import heapq
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msgspec import Struct

from aiframe.app.project import steplines, telling
from aiframe.app.project.lanes import lane_places, read_record
from aiframe.app.reports.follow import logged_runs
from aiframe.core.errors import AiframeError, UsageError
from aiframe.store.journal import Once, raw_lines, raw_lines_backwards
from aiframe.store.layout import Layout, is_safe_name
from aiframe.store.tasks_file import load_tasks

KINDS = (*telling.KINDS, *steplines.KINDS)
"""What may be told in a line."""

_TS = re.compile(rb'\{"ts":(\d{1,12}(?:\.\d{1,9})?)[,}]')
_TAIL = 1024 * 1024
_SHOWN = 20


class Wanted(Struct, frozen=True):
    """Which lines are asked for; empty or None asks for all. *events* are patterns of kinds, times epoch seconds."""

    task: str = ""
    run: str = ""
    events: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None

    def may_be(self, raw: bytes) -> bool:
        """Whether it is worth while to parse the line *raw*."""
        if any(name.encode("utf-8", "surrogateescape") not in raw for name in (self.task, self.run)):
            return False
        at = _TS.match(raw)
        return at is None or self._is_in_time(float(at[1]))

    def takes(self, line: Mapping[str, Any]) -> bool:
        """Whether *line* is one of them."""
        return (
            (not self.task or line.get("task") == self.task)
            and (not self.run or line.get("run_id") == self.run)
            and (not self.events or any(fnmatchcase(str(line.get("kind")), each) for each in self.events))
            and self._is_in_time(_number(line.get("ts")))
        )

    def _is_in_time(self, at: float) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)


class Told(Struct, frozen=True):
    """A line: its time (epoch seconds), what it says, and how it stands there. *place* is the folder of the project
    that told it."""

    at: float
    line: Mapping[str, Any]
    raw: str
    place: Path


class Part(Struct, frozen=True):
    """Lines of one file that stand in the order of their times, from *start* to *end* (bytes). *task* is that of the
    lane it lies in, empty for the project's own."""

    path: Path
    place: Path
    end: int
    start: int = 0
    task: str = ""


# Where lines are ------------------------------------------------------------------------------------------------------


def places(layout: Layout) -> tuple[tuple[Layout, str], ...]:
    """The project and its lanes, each with the task of the lane."""
    lanes = ((place, read_record(place)) for place in lane_places(layout.root))
    return ((layout, ""), *((Layout(root), record.task_id) for root, record in lanes if record is not None))


def run_logs(layout: Layout) -> Iterator[Path]:
    """The log.jsonl of each run that has one, in the order of their names."""
    folder = layout.logs / "runs"
    if layout.logs.is_symlink() or folder.is_symlink():  # an agent may have made them
        return
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_safe_name(entry.name) and entry.is_dir(follow_symlinks=False)]
        yield from (layout.step_lines(name) for name in sorted(names))


def whole_end(path: Path) -> int:
    """The size of *path* up to the end of its last whole line; 0 where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size - _TAIL)
        return start + os.pread(descriptor, _TAIL, start).rfind(b"\n") + 1
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def parts(layout: Layout, wanted: Wanted, ends: Mapping[Path, int]) -> Iterator[Part]:
    """Where the lines may be that are asked for; each file up to its *ends*, others whole."""
    for place, task in places(layout):
        if wanted.run or not task or wanted.task in ("", task):
            end = ends.get(place.events, whole_end(place.events))
            yield from _segments(Part(place.events, place.root, end, task=task))
        for path in run_logs(place):
            if wanted.run in ("", path.parent.name) and not _is_older(path, wanted.since):
                yield Part(path, place.root, ends.get(path, whole_end(path)), task=task)


def _is_older(path: Path, since: float | None) -> bool:
    with suppress(OSError):
        return since is not None and path.stat().st_mtime < since
    return True


def _segments(journal: Part) -> Iterator[Part]:
    """The journal in parts, each in the order of times.

    What a lane hands over at its end is older than the rest, be it by moments; and lines come from several processes.
    """
    start = before = 0
    latest = 0.0
    for offset, line in raw_lines(journal.path, 0, journal.end):
        at = _time_of(line)
        if 0 < at < latest:
            yield Part(journal.path, journal.place, before, start, journal.task)
            start, latest = before, at
        latest, before = max(latest, at), offset
    if before > start:
        yield Part(journal.path, journal.place, before, start, journal.task)


def _time_of(raw: bytes) -> float:
    found = _TS.match(raw)
    return float(found[1]) if found else 0.0


# Reading them ---------------------------------------------------------------------------------------------------------


def read(layout: Layout, wanted: Wanted, ends: Mapping[Path, int] | None = None) -> Iterator[Told]:
    """The lines that are asked for, the oldest first. *ends* says of some files how far they are read."""
    return _merged(parts(layout, wanted, ends or {}), wanted, backwards=False)


def last(layout: Layout, wanted: Wanted, count: int, ends: Mapping[Path, int] | None = None) -> list[Told]:
    """The last *count* of the lines that are asked for, the oldest first."""
    found: list[Told] = []
    for told in _merged(parts(layout, wanted, ends or {}), wanted, backwards=True):
        if len(found) == count:
            break
        found.append(told)
    return found[::-1]


def _merged(found: Iterable[Part], wanted: Wanted, *, backwards: bool) -> Iterator[Told]:
    """The lines of all parts by their times. A part is opened when its turn comes."""
    sign = -1 if backwards else 1
    waiting = [(sign * edge, number, part) for number, part in enumerate(found) if (edge := _edge(part, sign)) > 0]
    waiting.sort(key=lambda each: each[:2], reverse=True)
    heap: list[tuple[float, int, Told, Iterator[Told]]] = []
    once = Once()
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            _, number, part = waiting.pop()
            _push(heap, number, _lines(part, wanted, backwards=backwards), sign)
        if heap:
            _, number, told, others = heapq.heappop(heap)
            if once.is_new(told.line, str(told.place)):
                yield told
            _push(heap, number, others, sign)


def _push(heap: list[tuple[float, int, Told, Iterator[Told]]], number: int, lines: Iterator[Told], sign: int) -> None:
    told = next(lines, None)
    if told is not None:
        heapq.heappush(heap, (sign * told.at, number, told, lines))


def _edge(part: Part, sign: int) -> float:
    """The time of the first line of *part* that has one, or of the last for a negative *sign*; 0 for none."""
    ours = (line for _, line in raw_lines(part.path, part.start, part.end))
    lines = ours if sign > 0 else raw_lines_backwards(part.path, part.start, part.end)
    return next((at for at in map(_time_of, lines) if at), 0.0)


def _lines(part: Part, wanted: Wanted, *, backwards: bool) -> Iterator[Told]:
    ours = (line for _, line in raw_lines(part.path, part.start, part.end))
    for raw in raw_lines_backwards(part.path, part.start, part.end) if backwards else ours:
        told = told_of(raw, part.place, part.task, wanted)
        if told is not None:
            yield told


def told_of(raw: bytes, place: Path, task: str, wanted: Wanted) -> Told | None:
    """The line *raw* from the project in *place*, a lane of *task* perhaps; None for one that is not asked for."""
    if not task and not wanted.may_be(raw):
        return None
    text = raw.decode("utf-8", "replace").rstrip("\n")
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or "kind" not in line:
        return None
    if task and not line.get("task"):  # what befalls a lane befalls its task
        line["task"] = task
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    return Told(_number(line.get("ts")), line, text, place) if wanted.takes(line) else None


def _number(value: object) -> float:
    """*value* where it is a number; else 0."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


# What there is --------------------------------------------------------------------------------------------------------


def check_events(patterns: Iterable[str]) -> None:
    """Raise UsageError for a pattern that no kind fits."""
    for pattern in patterns:
        if not any(fnmatchcase(kind, pattern) for kind in KINDS):
            raise UsageError(
                f"there is no event {pattern[:80]!r}", hint=f"there are {', '.join(KINDS)}; * stands for any"
            )


def check_found(layout: Layout, wanted: Wanted) -> None:
    """Raise UsageError where nothing was found because there is no such task, or no such run."""
    if wanted.run and wanted.run not in (runs := _runs(layout)):
        known = f"the last ones: {', '.join(runs[-_SHOWN:])}" if runs else "no step has run yet"
        raise UsageError(f"there is no log of a run {wanted.run[:80]!r}", hint=known)
    tasks: list[str] | None = None
    with suppress(AiframeError):
        tasks = [task.id for task in load_tasks(layout.tasks_yaml).tasks]
    if wanted.task and tasks is not None and wanted.task not in tasks:
        more = f" and {len(tasks) - _SHOWN} more" if len(tasks) > _SHOWN else ""
        known = f"tasks: {', '.join(tasks[:_SHOWN])}{more}" if tasks else "there is no task yet"
        raise UsageError(f"there is no task {wanted.task[:80]!r}, and nothing is logged of one", hint=known)


def _runs(layout: Layout) -> list[str]:
    """The ids of the runs that are logged, in order."""
    found = places(layout)
    ours = {path.parent.name for place, _ in found for path in run_logs(place)}
    return sorted(ours | {run_id for place, _ in found for run_id in logged_runs(place)})
