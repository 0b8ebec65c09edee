"""What a runner said when it gave up: nobody reads that while it happens, and nothing else tells why."""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from aiframe.store.layout import Layout

_READ = 64 * 1024
"""How many bytes of what runners said are looked through."""
_SHOWN = 10


class LastWords(Struct, frozen=True):
    """An error that ended a runner: its message, what to do, and both as they were printed; empty for none."""

    message: str = ""
    hint: str = ""
    lines: tuple[str, ...] = ()


def printed(layout: Layout) -> int:
    """How many bytes the runners of the project have printed so far."""
    try:
        return layout.runner_log.stat().st_size
    except OSError:
        return 0


def last_words(layout: Layout, *, after: int = 0, since: float = 0.0) -> LastWords:
    """The last error that runners have printed *after* so many bytes, in a log that was added to *since* (epoch s)."""
    with suppress(OSError), layout.runner_log.open("rb") as log:
        size = printed(layout)
        if layout.runner_log.stat().st_mtime < since:
            return LastWords()
        log.seek(max(after if after <= size else 0, size - _READ))
        _, found, words = log.read(_READ).decode("utf-8", "replace").rpartition("error: ")
        if found:
            message, _, hint = words.partition("\n  cure: ")
            lines = tuple((found + words).splitlines()[:_SHOWN])
            return LastWords(" ".join(message.split()), " ".join(hint.split()), lines)
    return LastWords()
