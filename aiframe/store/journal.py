"""logs/events.ndjson: one line for each thing that happened, append only.

Fields: ``ts`` (epoch seconds), ``kind``, ``run_id``, ``role``, ``state_before``, ``state_after``, ``exit_code``,
``tasks_done``, ``tasks_total``, ``log_file``, and whatever else an event has to say. An event with a ``key`` may be
written again when a settle is replayed; readers show it once for each (run_id, kind, key).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from aiframe.store.atomic import append_durable, make_folder, storage_errors
from aiframe.store.layout import Layout

Event: TypeAlias = Mapping[str, Any]

MAX_LINE = 1024 * 1024
"""Longer lines (bytes) are none of ours, and are passed over."""

_BLOCK = 64 * 1024
_REMEMBERED = 4096


def append_event(layout: Layout, event: Event) -> None:
    """Add *event* durably; a torn last line before it stays alone. Raises StorageError."""
    make_folder(layout.logs)
    text = json.dumps(dict(event), ensure_ascii=False, default=str, separators=(",", ":"))
    append_durable(layout.events, text.encode("utf-8", "replace"))


def read_events(layout: Layout, start_offset: int = 0) -> Iterator[Event]:
    """The events from the byte *start_offset* on, each once; lines that are no event are passed over."""
    for _, event in events_from(layout, start_offset):
        yield event


def events_from(layout: Layout, start_offset: int = 0) -> Iterator[tuple[int, Event]]:
    """As read_events, each with the offset after its line, from which a follower goes on.

    A last line without its end is left for the next time. Raises StorageError.
    """
    once = Once()
    with storage_errors(layout.events, "read"):
        try:
            file = layout.events.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(start_offset)
            for line in _whole_lines(file):
                event = _parse(line)
                if event is not None and once.is_new(event):
                    yield file.tell(), event


def last_events(layout: Layout, n: int) -> list[Event]:
    """The last *n* events, the oldest first, read from the end in bounded memory. Raises StorageError."""
    once = Once()
    found: deque[Event] = deque()
    with storage_errors(layout.events, "read"):
        try:
            file = layout.events.open("rb")
        except FileNotFoundError:
            return []
        with file:
            for line in _lines_backwards(file):
                if len(found) >= n:
                    break
                event = _parse(line)
                if event is not None and once.is_new(event):
                    found.appendleft(event)
    return list(found)


def raw_lines(path: Path, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a log from the byte *start* on, up to *end*, each with the offset after it.

    A link or what is no file has none, and neither has one that is missing. Raises StorageError.
    """
    with storage_errors(path, "read"), _opened(path) as file:
        if file is None:
            return
        file.seek(start)
        for line in _whole_lines(file):
            if end is not None and file.tell() > end:
                return
            yield file.tell(), line


def raw_lines_backwards(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """As raw_lines, the last line first, and without their ends."""
    with storage_errors(path, "read"), _opened(path) as file:
        if file is not None:
            yield from _lines_backwards(file, start, end)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    # Not blocking and no links: whoever wrote into the folder must not make us hang or read something else.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            yield None
            return
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


class Once:
    """Tells the first of equal keyed events from its repetitions, which stand close together."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def is_new(self, event: Event, place: str = "") -> bool:
        """Whether no event with its key was asked about before; one of no run is known by its *place*, if any."""
        if not event.get("key"):
            return True
        name = (str(event.get("run_id") or place), str(event.get("kind")), str(event["key"]))
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE + 1):
        if line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):  # too long, or torn: pass over the rest of it
            line = file.readline(MAX_LINE)


def _lines_backwards(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The complete lines of *file*, the last first; what follows the last newline is torn and left out."""
    position = file.seek(0, 2) if end is None else end
    tail = b""  # the beginning of a line whose start lies further back
    torn = too_long = True
    while position > start:
        size = min(_BLOCK, position - start)
        position -= size
        file.seek(position)
        parts = (file.read(size) + tail).split(b"\n")
        tail = parts[0]
        for line in reversed(parts[1:]):
            if not torn and not too_long and len(line) <= MAX_LINE:
                yield line
            torn = too_long = False
        if len(tail) > MAX_LINE:
            tail, too_long = b"", True
    if tail and not torn and not too_long:
        yield tail
