"""The foot of a terminal: a few lines that are drawn again and again, with what is said scrolling by above them.

No thread draws them: whoever waits for something calls `Live.glance` as often as it likes. So a copy of the process
that carries a step has nothing of this, and nothing is drawn into somebody else's lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from aiframe.cli.paint import has_colour, is_terminal

Draw = Callable[[int, int], Sequence[str]]
"""Gives the lines for so many columns and lines of a terminal."""

_LEAST_S = 0.25
"""The shortest time between two pictures."""
_COLUMNS, _LINES = 80, 24


def can_draw(stream: TextIO | None = None) -> bool:
    """Whether *stream* (default: standard output) is a terminal on which lines can be drawn again."""
    stream = sys.stdout if stream is None else stream
    return is_terminal(stream) and os.environ.get("TERM", "dumb") != "dumb"


class Live:
    """Lines at the foot of the terminal, for a block; afterwards they are gone, and what was said stays.

    *draw* is asked for the lines, *width_of* says how many columns one takes.
    """

    def __init__(self, draw: Draw, width_of: Callable[[str], int], stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._draw, self._width_of = draw, width_of
        self.colour = has_colour(self._stream)
        self._said: list[str] = []
        self._shown: list[str] = []
        self._columns = 0
        self._due = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._back() + "".join(f"{line}\r\n" for line in self._said))
        self._said, self._shown = [], []

    def say(self, line: str) -> None:
        """Have *line* scroll by; it is there with the next picture."""
        self._said.append(line)
        if len(self._said) > 1000:
            self._show()

    def glance(self) -> None:
        """Draw what is new, where it is time to."""
        if time.monotonic() >= self._due:
            self._show()

    def _show(self) -> None:
        columns, height = self._size()
        lines = list(self._draw(max(1, columns - 1), max(1, height - 1)))
        if lines != self._shown or self._said or columns != self._columns:
            above = "".join(f"{line}\r\n" for line in self._said)
            self._write(f"\x1b[?25l{self._back(columns)}{above}" + "\r\n".join(lines) + "\x1b[?25h")
            self._said, self._shown, self._columns = [], lines, columns
        self._due = time.monotonic() + _LEAST_S

    def _back(self, columns: int = 0) -> str:
        """The way back to where the picture began, and everything from there on cleared."""
        if not self._shown:
            return ""
        columns = columns or self._size()[0]
        # A terminal that has become narrower has laid each line out anew.
        tall = sum(max(1, -(-self._width_of(line) // columns)) for line in self._shown)
        up = f"\x1b[{tall - 1}A" if tall > 1 else ""
        return f"\r{up}\x1b[J"

    def _size(self) -> tuple[int, int]:
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _COLUMNS, _LINES
        return found.columns or _COLUMNS, found.lines or _LINES

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
