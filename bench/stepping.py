"""What aiframe adds to a step: from the start of `aiframe tick` to its end, less the agent and the check themselves.

Where the time goes is told by what a step leaves behind: the times that agent and check print, and the times at which
its files were written. Nothing is added to the product for this.
"""

from __future__ import annotations

import json
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

from bench.measuring import AIFRAME, BARE, PYTHON, Row, in_turns, ms, run_once
from bench.projects import AGENT, CLOCK, add_task, come_to_rest, lay_project, newest_run, open_again, task_state

ROUNDS = 15
SHELL = "/bin/sh"
TICK_LOADS = "aiframe.cli.parser, aiframe.cli.working, aiframe.app.tick"
RUNNER_LOADS = "aiframe.app.runner, aiframe.agents.command"
"""What the runner, a copy of the tick, loads besides."""


def measure_steps(folder: Path) -> list[Row]:
    """The whole overhead, then its parts in the order in which they happen."""
    root = lay_project(folder / "stepping")
    come_to_rest(root)
    inside, rounds = [], []
    for number in range(1, ROUNDS + 1):
        time.sleep(0.1)
        add_task(root, number)
        open_again(root)
        rounds.append(_one_step(root, number))
        inside.append(_agent_and_check(root))
    whole = statistics.median(sum(parts.values()) for parts in rounds)
    reference = statistics.median(inside)
    rows = [Row("step overhead, wall", ms(whole), ms(reference), (whole - reference) * 1000, "ms", 300)]
    medians = {name: statistics.median(parts[name] for parts in rounds) for name in rounds[0]}
    return rows + [Row(f"  {name}", ms(took), "", took * 1000, "ms") for name, took in medians.items()] + _imports()


def _one_step(root: Path, number: int) -> dict[str, float]:
    """Do one task; how long each part of the tick took, in seconds."""
    began = time.time()
    run_once([AIFRAME, "tick", "--project", str(root)], root)
    ended = time.time()
    if task_state(root, number) != "done":
        raise RuntimeError(f"task T{number} was not done; see {root}/logs")
    control, run = root / ".git" / "aiframe", newest_run(root)
    marks = {
        "tick starts, looks, starts the runner; it decides": _result(run)["started_at"],
        "begin is recorded, files are kept, prompt": _written(run / "prompt.md"),
        "repository is sealed, agent is started": _said(run / "agent.jsonl"),
        "agent; seal is checked, work is measured": _written(run / "gates"),
        "check": _written(run / "gates" / "verify-1.log"),
        "work is measured again, result is saved": _written(run / "result.json"),
        "commit, status line": _written(root / "TASKS.yaml"),
        "end is recorded": _written(control / "control.json"),
        "bookkeeping commit": _written(root / ".git" / "logs" / "HEAD"),
        "runner and tick end": ended,
    }
    parts, last = {}, began
    for name, at in marks.items():
        parts[name], last = at - last, at
    return parts


def _result(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_bytes()))


def _written(path: Path) -> float:
    """When a file was written, or a folder got an entry, in epoch seconds."""
    return path.stat().st_mtime_ns / 1e9


def _said(path: Path) -> float:
    """The time that the agent printed."""
    return int(path.read_text().split()[0]) / 1e9


def _agent_and_check(root: Path) -> float:
    """What agent and check take by themselves, in seconds."""
    return (
        run_once([*shlex.split(AGENT.replace("/bin/sh", SHELL, 1))], root).wall_s
        + run_once([SHELL, "-c", CLOCK], root).wall_s
    )


def _imports() -> list[Row]:
    """What loading takes of the whole: an interpreter with what a tick needs, and what the runner adds to it."""
    tick, bare = in_turns(ROUNDS, [PYTHON, "-I", "-c", f"import {TICK_LOADS}"], BARE, Path("/"))
    both, _ = in_turns(ROUNDS, [PYTHON, "-I", "-c", f"import {TICK_LOADS}, {RUNNER_LOADS}"], BARE, Path("/"))
    more = both.wall_s - tick.wall_s
    return [
        Row("  of it: tick's interpreter and imports", ms(tick.wall_s), ms(bare.wall_s), tick.wall_s * 1000, "ms"),
        Row("  of it: what the runner loads besides", ms(more), "", more * 1000, "ms"),
    ]
