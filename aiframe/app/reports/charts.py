"""Shapes for the pictures of a report: numbers in, places on a canvas out. Draws nothing and knows no colours.

All places and lengths are in the units of the picture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from msgspec import Struct

WIDTH, NARROW = 720, 460
"""How wide the pictures over time are, and those that stand side by side."""


class Bar(Struct, frozen=True):
    """A run on the timeline, or one bar of a chart. *kind* is what its colour goes by, *title* what it tells."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str
    label: str = ""
    value: str = ""


class Mark(Struct, frozen=True):
    """A line across the picture at *at*, and the words beside it."""

    at: float
    label: str


class Picture(Struct, frozen=True):
    """What to draw on a canvas of *width* x *height*: bars, lines with their words, and the corners of a polyline."""

    height: float
    bars: tuple[Bar, ...] = ()
    columns: tuple[Mark, ...] = ()
    rows: tuple[Mark, ...] = ()
    line: tuple[tuple[float, float], ...] = ()
    left: float = 0.0
    bottom: float = 0.0
    width: float = WIDTH


class Span(Struct, frozen=True):
    """Something that took from *start* to *end* (epoch seconds) in the row *row*."""

    row: str
    start: float
    end: float
    kind: str
    title: str


_LABELS = 118.0
_ROW, _BAR = 24.0, 14.0
_MAX_ROWS = 40


def timeline(spans: Sequence[Span]) -> Picture:
    """One row for each name, one bar for each span; the rows in the order in which they began."""
    rows = list(dict.fromkeys(span.row for span in spans))[-_MAX_ROWS:]
    shown = [span for span in spans if span.row in rows]
    if not shown:
        return Picture(0)
    first, last = min(span.start for span in shown), max(span.end for span in shown)
    scale = (WIDTH - _LABELS - 6) / max(last - first, 1.0)
    place = {name: 8 + number * _ROW for number, name in enumerate(rows)}
    bars = tuple(
        Bar(
            _LABELS + (span.start - first) * scale,
            place[span.row] + (_ROW - _BAR) / 2,
            max(2.0, (span.end - span.start) * scale),
            _BAR,
            span.kind,
            span.title,
        )
        for span in shown
    )
    bottom = 8 + len(rows) * _ROW
    marks = tuple(Mark(_LABELS + (at - first) * scale, label) for at, label in _times(first, last))
    return Picture(
        bottom + 22, bars, marks, tuple(Mark(y + _ROW / 2, name) for name, y in place.items()), (), _LABELS, bottom
    )


def staircase(times: Sequence[float], total: int, first: float, last: float) -> Picture:
    """How many of *total* things were done when: a line that rises at each of *times*."""
    left, top, bottom = 40.0, 10.0, 150.0
    most = max(total, len(times), 1)
    across = (WIDTH - left - 10) / max(last - first, 1.0)
    up = (bottom - top) / most
    corners = [(left, bottom)]
    for done, at in enumerate(sorted(times), start=1):
        x = left + (min(max(at, first), last) - first) * across
        corners += [(x, corners[-1][1]), (x, bottom - done * up)]
    corners.append((left + (last - first) * across, corners[-1][1]))
    rows = tuple(Mark(bottom - value * up, f"{value}") for value in _whole_steps(most))
    marks = tuple(Mark(left + (at - first) * across, label) for at, label in _times(first, last))
    return Picture(bottom + 22, (), marks, rows, tuple(corners), left, bottom)


def bars(values: Sequence[tuple[str, float | None, str, str]]) -> Picture:
    """One horizontal bar for each (label, value, words for the value, kind); a value of None is an empty bar."""
    most = max((value for _, value, _, _ in values if value), default=0.0)
    room = NARROW - _LABELS - 120
    drawn = tuple(
        Bar(
            _LABELS,
            6 + number * _ROW + (_ROW - _BAR) / 2,
            max(2.0, room * value / most) if value and most else 0.0,
            _BAR,
            kind,
            f"{label}: {words}",
            label,
            words,
        )
        for number, (label, value, words, kind) in enumerate(values)
    )
    return Picture(12 + len(values) * _ROW, drawn, left=_LABELS, width=NARROW)


def _whole_steps(most: int) -> list[int]:
    step = max(1, math.ceil(most / 5))
    return list(range(0, most + 1, step))


_STEPS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)


def _times(first: float, last: float) -> list[tuple[float, str]]:
    """Four to six round local times from *first* to *last*, with their words."""
    length = max(last - first, 1.0)
    step = next((each for each in _STEPS if length / each <= 6), length / 6)
    offset = time.localtime(first).tm_gmtoff or 0
    at = math.ceil((first + offset) / step) * step - offset
    form = "%H:%M:%S" if step < 60 else "%H:%M" if length < 86_400 else "%d %b %H:%M" if step < 86_400 else "%d %b"
    found = []
    while at <= last:
        found.append((at, time.strftime(form, time.localtime(at))))
        at += step
    return found
