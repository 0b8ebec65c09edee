"""What a tick costs that finds nothing to do: CPU time against that of an interpreter that does nothing."""

from __future__ import annotations

from pathlib import Path

from bench.measuring import AIFRAME, BARE, Row, in_turns, ms
from bench.projects import come_to_rest, copies, lay_frame, lay_project

ROUNDS_ONE = 60
ROUNDS_ALL = 30
PROJECTS = 1000


def measure_one(folder: Path) -> list[Row]:
    """One project at rest."""
    root = lay_project(folder / "resting")
    come_to_rest(root)
    ours, bare = in_turns(ROUNDS_ONE, [AIFRAME, "tick", "--project", str(root)], BARE, folder)
    return [Row("no-op tick, CPU", ms(ours.cpu_s), ms(bare.cpu_s), ours.cpu_s / bare.cpu_s, "x", 2.0)]


def measure_thousand(folder: Path) -> list[Row]:
    """A frame full of projects at rest. The frame stays for the measure of `watch`."""
    frame = lay_frame(folder)
    copies(frame, lay_project(folder / "model"), PROJECTS)
    every = [AIFRAME, "tick", "--all", "--frame", str(frame)]
    ours, bare = in_turns(ROUNDS_ALL, every, BARE, folder)
    title = f"no-op tick --all, {PROJECTS:,} projects, CPU"
    return [Row(title, ms(ours.cpu_s), ms(bare.cpu_s), ours.cpu_s / bare.cpu_s, "x", 5.0)]
