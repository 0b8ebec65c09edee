"""What is shown while somebody waits: on a terminal a board at its foot, elsewhere plain lines and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from aiframe.cli.screen import Live, can_draw
from aiframe.core.errors import AiframeError

if TYPE_CHECKING:
    from aiframe.app.reports.rows import Picture, RowReader

Say: TypeAlias = Callable[[str], None]
Glance: TypeAlias = Callable[[], None]

_READ_S = 0.5
"""How often the project is looked at, for the board."""


@contextmanager
def at_work(
    root: Path, environ: Mapping[str, str], *, on: bool = True, otherwise: Say | None = None
) -> Iterator[tuple[Say, Glance]]:
    """How lines are told for the block, and what is to be called while it waits.

    Without a terminal, or where it is not *on*, lines go to *otherwise*, or to standard output.
    """
    if not on or not can_draw():
        yield otherwise or _print, lambda: None
        return
    from aiframe.cli.board import width_of

    board = _Board(root, environ)
    with Live(board.draw, width_of) as live:
        board.colour = live.colour
        yield live.say, live.glance


def _print(line: str) -> None:
    print(line, flush=True)


class _Board:
    """Reads the project every so often, and draws it."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root, self._environ = root, environ
        self._reader: RowReader | None = None
        self._picture: Picture | None = None
        self._read_at = 0.0
        self._drawn: tuple[object, list[str]] = (None, [])
        self.colour = False

    def draw(self, columns: int, height: int) -> Sequence[str]:
        """The lines of the board; none while the project cannot be read."""
        if time.monotonic() - self._read_at >= _READ_S:
            try:
                self._picture = self._read()
            except AiframeError:
                self._picture = None
            self._read_at = time.monotonic()
        if self._picture is None:
            return ()
        key = (self._picture, int(time.time()), columns, height)
        if key != self._drawn[0]:
            from aiframe.cli.board import lines_of

            self._drawn = (key, lines_of(self._picture, time.time(), columns, height, colour=self.colour))
        return self._drawn[1]

    def _read(self) -> Picture:
        if self._reader is None:
            from aiframe.app.project.site import open_site
            from aiframe.app.reports.rows import RowReader

            self._reader = RowReader(open_site(self._root, self._environ))
        return self._reader.picture()
