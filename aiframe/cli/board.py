"""A project at work as a few lines at the foot of a terminal: where it stands, and a row for each task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from aiframe.cli.render import duration
from aiframe.cli.reporting import harmless

if TYPE_CHECKING:
    from aiframe.app.reports.rows import Picture, Row

_STAGES = {"wait_to_land": "waiting to land", "merge": "merging", "land": "landing"}
_STATES = {"ERROR": "red", "DONE": "green", "PAUSED": "yellow"}
_BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of what follows on a line, in which they stand for good."""
_WIDE, _MIDDLE = 96, 76
"""From so many columns on there is room for the title, and for the agent and the cost."""
_TITLE = 0.4
"""What titles may take of the room that they share with the last lines."""
_GAP = "  "
_LEAST = 8
"""The fewest columns in which anything can be told."""


class _Column(NamedTuple):
    """A column of the rows: *style*, and whether it keeps to the right; *most* columns wide at most."""

    cells: list[str]
    style: str = ""
    right: bool = False
    most: int = 20

    @property
    def width(self) -> int:
        return min(self.most, max(map(cell_len, self.cells), default=0))


def lines_of(picture: Picture, now: float, width: int, height: int, *, colour: bool) -> list[str]:
    """The lines of *picture* at *now* (epoch seconds), none wider than *width* columns, at most *height* of them."""
    width = max(width, _LEAST)
    lines = [Text("─" * width, "dim"), _head(picture)]
    if picture.waits:
        lines.append(Text(safe("; ".join(picture.waits)), "yellow"))
    room = max(0, height - len(lines))
    fits = picture.rows if len(picture.rows) <= room else picture.rows[: max(0, room - 1)]
    lines += _rows(fits, now, width)
    if len(fits) < len(picture.rows):
        lines.append(Text(f"and {len(picture.rows) - len(fits)} more", "dim"))
    return _drawn(lines[: max(1, height)], width, colour=colour)


def _drawn(lines: Sequence[Text], width: int, *, colour: bool) -> list[str]:
    page = StringIO()
    console = Console(
        file=page, width=width, color_system="standard" if colour else None, force_terminal=colour, highlight=False,
        legacy_windows=False, emoji=False, markup=False, no_color=not colour,
    )  # fmt: skip
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    return page.getvalue().splitlines()


def _head(picture: Picture) -> Text:
    """Name, state, how much is done, and what was spent."""
    head = Text.assemble(
        (safe(picture.name), "bold"), "  ", (safe(picture.state), _STATES.get(picture.state, "cyan")),
        f"  {picture.done}/{picture.total} done",
    )  # fmt: skip
    amounts = [tokens_told(picture.tokens)] if picture.tokens else []
    amounts += [cost_told(picture.cost_usd)] if picture.cost_usd else []
    return head.append(f"  spent {', '.join(amounts)}" if amounts else "")


def _rows(rows: Sequence[Row], now: float, width: int) -> list[Text]:
    """A line for each row, in columns; the title and the last line share what the others leave."""
    middle = width >= _MIDDLE
    took = [duration(max(0.0, now - row.since)) if row.since is not None else "-" for row in rows]
    task = _Column([safe(row.task or row.role) for row in rows], "bold", most=max(6, width // 5))
    title = _Column([safe(row.title) for row in rows], most=0)
    others = [
        _Column([_stage(row) for row in rows], "cyan"),
        *([_Column([safe(row.agent) for row in rows], "dim", most=14)] if middle else []),
        _Column(took, right=True),
        _Column([tokens_told(row.tokens, unit="") for row in rows], right=True),
        *([_Column([cost_told(row.cost_usd) for row in rows], right=True)] if middle else []),
    ]
    said = _Column([safe(row.waits_for or row.last_line) for row in rows], "dim", most=0)
    left = width - sum(column.width + len(_GAP) for column in (task, *others))
    share = max(map(cell_len, title.cells), default=0)
    title = title._replace(most=min(share, int(left * _TITLE)) if width >= _WIDE else 0)
    said = said._replace(most=max(0, left - title.most - (len(_GAP) if title.most else 0)))
    columns = [column for column in (task, title, *others, said) if column.width]
    return [_row(columns, number, waits=bool(row.waits_for)) for number, row in enumerate(rows)]


def _row(columns: Sequence[_Column], number: int, *, waits: bool) -> Text:
    line = Text()
    for column in columns:
        cell = Text(column.cells[number], "yellow" if waits and column.style == "cyan" else column.style)
        cell.truncate(column.width, overflow="ellipsis")
        gap = " " * (column.width - cell.cell_len)
        line.append(gap if column.right else "").append_text(cell).append("" if column.right else gap).append(_GAP)
    return line


def _stage(row: Row) -> str:
    if row.waits_for:
        return "waits"
    return _STAGES.get(row.stage, safe(row.stage)) or "starting"


def tokens_told(count: int | None, unit: str = " tokens") -> str:
    """A number of tokens in short; "-" where it is not known."""
    if count is None:
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}{unit}"
    return f"{count}{unit}"


def cost_told(amount: float | None) -> str:
    """An amount of money; "-" where it is not known."""
    return "-" if amount is None else f"${amount:,.2f}"


def safe(text: str) -> str:
    """*text* on one line, without what could play tricks on a terminal."""
    return harmless(_BIDI.sub("", " ".join(text.split())))


def width_of(text: str) -> int:
    """Columns that *text* takes, which may hold codes of colours."""
    return cell_len(re.sub(r"\x1b\[[0-9;]*m", "", text))
