"""Many tasks that do nothing: what aiframe takes for all of them, beside tools that only run commands.

Nothing of aiframe's way with a task is left out: an agent is started, its work is measured, a check is run, the end is
recorded so that it survives kill -9. The others start a command and note how it ended, and keep nothing of it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measuring import AIFRAME, Row, environment, ms, run_once
from bench.projects import git, lay_project

TASKS = 200
SLOTS = 2
ROUNDS = 3
"""The tools are measured so often before aiframe, and after it: it takes long, and the machine may have changed."""
LIMIT = 2.0
TITLE = f"{TASKS} tasks that do nothing"


def measure_many(folder: Path) -> list[Row]:
    """The whole of it, for each tool that is there, and for aiframe with one task at a time and with two."""
    place = folder / "many"
    place.mkdir()
    tools = {name: run for name, run in TOOLS.items() if shutil.which(name)}
    for name in TOOLS.keys() - tools.keys():
        print(f"{name} is not there and left out (Debian: apt-get install {PACKAGES[name]})", file=sys.stderr)
    took: dict[str, list[float]] = {name: [_timed(tools[name], place) for _ in range(ROUNDS)] for name in tools}
    together = _lay(place / "together", place, side_by_side=True)
    alone = _lay(place / "alone", place, side_by_side=False)
    ours = {f"{TITLE}, {SLOTS} slots": _run(together), "  in place, one after the other": _run(alone)}
    for name, each in took.items():
        each += [_timed(tools[name], place) for _ in range(ROUNDS)]
    nq = statistics.median(took["nq"]) if "nq" in took else 0.0
    return [
        *(_row(title, seconds, nq) for title, seconds in ours.items()),
        *(Row(f"  {name}", "", ms(statistics.median(each)), 0, "ms") for name, each in took.items()),
    ]


def _row(title: str, seconds: float, nq: float) -> Row:
    """Against nq, where that is there; a part that explains has no target."""
    whole = f"{seconds:.1f} s ({ms(seconds / TASKS)} each)"
    limit = LIMIT if nq and not title.startswith(" ") else None
    return Row(title, whole, f"nq {ms(nq)}" if nq else "nq is not there", seconds / nq if nq else 0, "x", limit)


def _lay(root: Path, folder: Path, *, side_by_side: bool) -> Path:
    """A project with TASKS things to do."""
    lay_project(root)
    settings: dict[str, Any] = {"agent": {"name": "command", "line": "/bin/true"}, "sandbox": "none"}
    if side_by_side:
        settings |= {"parallel": SLOTS, "workspace": {"kind": "worktree", "repo": str(_repository(folder / "app"))}}
    (root / "PROJECT.yaml").write_text(json.dumps(settings))
    tasks = [{"id": f"T{n}", "title": "Nothing", "status": "todo", "verify": ["true"]} for n in range(TASKS)]
    (root / "TASKS.yaml").write_text("version: 1\ntasks:\n" + "".join(f"  - {json.dumps(task)}\n" for task in tasks))
    (root / "STATE.json").write_text(json.dumps({"state": "DEV_READY", "interactive_mode": False}))
    return root


def _repository(root: Path) -> Path:
    root.mkdir()
    (root / "README").write_text("nothing\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "README")
    git(root, "commit", "-qm", "nothing")
    return root


def _run(root: Path) -> float:
    """Work the whole plan off; the time in seconds. Raises RuntimeError where not all is done."""
    took = run_once([AIFRAME, "run", "--project", str(root)], root).wall_s
    done = (root / "TASKS.yaml").read_text().count('"status": "done"')
    if done != TASKS:
        raise RuntimeError(f"{done} of {TASKS} tasks were done; see {root}/logs")
    return took


# The others -----------------------------------------------------------------------------------------------------------


def _timed(run: Callable[[Path], object], folder: Path) -> float:
    """How long it takes in a new folder, in seconds."""
    place = folder / "tool"
    place.mkdir()
    try:
        began = time.perf_counter()
        run(place)
        return time.perf_counter() - began
    finally:
        shutil.rmtree(place)


def _nq(folder: Path) -> None:
    """A queue of nq's runs one command at a time, so there are as many queues as slots."""
    share = TASKS // SLOTS
    queue = f'mkdir "$1"; export NQDIR="$PWD/$1"; for i in $(seq {share}); do nq -q true; done; nq -w'
    every = " ".join(f"queue q{number} &" for number in range(SLOTS))
    _sh(f"queue() {{ {queue}; }}; {every} wait", folder)
    _check(sum(1 for _ in folder.glob("q*/,*")), "nq")


def _tsp(folder: Path) -> None:
    mine = f'export TS_SOCKET="{folder}/s" TMPDIR="{folder}" TS_MAXFINISHED={2 * TASKS}; '
    wait = "while tsp | grep -qE ' (queued|running) '; do sleep 0.01; done"
    try:
        _sh(f"{mine} tsp -S {SLOTS}; for i in $(seq {TASKS}); do tsp -n true > id; done; {wait}", folder)
        _check(_sh(f"{mine} tsp", folder).count(" finished "), "tsp")
    finally:
        _sh(f"{mine} tsp -K", folder)


def _make(folder: Path) -> None:
    names = [f"t{number}" for number in range(TASKS)]
    lines = [f"all: {' '.join(names)}", *(f"{name}:\n\ttrue; echo x > {name}" for name in names)]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")
    _sh(f"make -s -j{SLOTS}", folder)
    _check(sum(1 for _ in folder.glob("t*")), "make")


def _check(done: int, tool: str) -> None:
    if done != TASKS:
        raise RuntimeError(f"{tool} ran {done} of {TASKS} commands")


def _sh(script: str, folder: Path) -> str:
    ran = subprocess.run(
        ["/bin/sh", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"/bin/sh failed: {ran.stderr.strip() or ran.returncode}")
    return ran.stdout


TOOLS: dict[str, Callable[[Path], None]] = {"nq": _nq, "tsp": _tsp, "make": _make}
PACKAGES = {"nq": "nq", "tsp": "task-spooler", "make": "make"}
