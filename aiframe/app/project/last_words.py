"""What a runner said when it gave up: nobody reads that while it happens, and nothing else tells why.

It may be that the disk is full: then the words stand where room was taken for them before.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from msgspec import Struct

from aiframe.core.errors import AiframeError
from aiframe.store.layout import Layout
from aiframe.store.reserved import read_words, write_words

_READ = 64 * 1024
"""How many bytes of what runners said are looked through."""
_SHOWN = 10


class LastWords(Struct, frozen=True):
    """An error that ended a runner: its message, what to do, and both as they were printed; empty for none."""

    message: str = ""
    hint: str = ""
    lines: tuple[str, ...] = ()


def say_last(layout: Layout, error: AiframeError) -> None:
    """Have a runner say, in its log, why it gives up."""
    said = f"error: {error.message}\n  cure: {error.hint}"
    try:
        print(said, file=sys.stderr, flush=True)
    except OSError:
        write_words(layout.last_words, said)


def printed(layout: Layout) -> int:
    """How many bytes the runners of the project have printed so far."""
    try:
        return layout.runner_log.stat().st_size
    except OSError:
        return 0


def last_words(layout: Layout, *, after: int = 0, since: float = 0.0) -> LastWords:
    """The last error that runners have printed *after* so many bytes, in a log that was added to *since* (epoch s).

    Where that log could not take it, the words of the last runner of all.
    """
    with suppress(OSError):
        if layout.last_words.stat().st_mtime >= since and (said := read_words(layout.last_words)):
            return _cut(said)
    with suppress(OSError), layout.runner_log.open("rb") as log:
        size = printed(layout)
        if layout.runner_log.stat().st_mtime < since:
            return LastWords()
        log.seek(max(after if after <= size else 0, size - _READ))
        return _cut(log.read(_READ).decode("utf-8", "replace"))
    return LastWords()


def _cut(said: str) -> LastWords:
    """The last error in what runners have *said*."""
    _, found, words = said.rpartition("error: ")
    if not found:
        return LastWords()
    message, _, hint = words.partition("\n  cure: ")
    lines = tuple((found + words).splitlines()[:_SHOWN])
    return LastWords(" ".join(message.split()), " ".join(hint.split()), lines)
