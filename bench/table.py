"""The printed table: plain Markdown, so that it can be kept in docs/ as it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from bench.measuring import BARE, Row, median, ms, run_once

HEAD = ("measure", "aiframe", "reference", "value", "target", "")


def render(rows: Sequence[Row]) -> str:
    """*rows* as an aligned table; a row over its target says so."""
    lines = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]])


def machine() -> str:
    """What the numbers were measured on, and how busy it was with other things: that makes all wall times longer."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    bare = median([run_once(BARE, Path("/")) for _ in range(15)])
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores, "
        f"load {load:.1f} before the start; an interpreter that does nothing took {ms(bare.wall_s)}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    value = f"{row.value:.2f} {row.unit}" if row.unit in ("x", "%") else f"{row.value:.0f} {row.unit}"
    if row.limit is None:
        return (row.measure, row.ours, row.reference, "", "", "")
    verdict = "ok" if row.value <= row.limit else "OVER"
    return (row.measure, row.ours, row.reference, value, f"{row.limit:g} {row.unit}", verdict)
