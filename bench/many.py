"""Many tasks that do nothing: what aiframe takes for all of them, beside tools that only run commands.

As jobs, which are commands like those of the other tools; how each ended is on the disk before the next one begins, so
that no kill -9 loses it. And, fewer of them, as tasks of an agent, with nothing of aiframe's way with these left out:
the agent is started, its work is measured, a check is run, what came of it is committed.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.measuring import AIFRAME, Row, environment, ms, run_once
from bench.projects import git, lay_project

TASKS = 200
OF_AGENTS = 20
"""Tasks of an agent take a second each, which nobody waits for two hundred times."""
SLOTS = 2
ROUNDS = 3
"""All are measured so often, in turns."""
LIMIT = 2.0
TITLE = f"{TASKS} tasks that do nothing"


def measure_many(folder: Path) -> list[Row]:
    """The whole of it, for each tool that is there, and for aiframe with one task at a time and with two."""
    place = folder / "many"
    place.mkdir()
    tools = {name: run for name, run in TOOLS.items() if shutil.which(name)}
    for name in TOOLS.keys() - tools.keys():
        print(f"{name} is not there and left out (Debian: apt-get install {PACKAGES[name]})", file=sys.stderr)
    took: dict[str, list[float]] = {name: [] for name in tools}
    jobs = list[float]()
    for number in range(ROUNDS):
        jobs.append(_run(_lay(place / f"jobs-{number}", _jobs(TASKS), {"parallel": SLOTS}), TASKS))
        for name, run in tools.items():
            took[name].append(_timed(run, place))
    agents = _tasks(OF_AGENTS)
    aside = {"parallel": SLOTS, "workspace": {"kind": "worktree", "repo": str(_repository(place / "app"))}}
    together = _run(_lay(place / "together", agents, aside), OF_AGENTS) / OF_AGENTS
    alone = _run(_lay(place / "alone", agents, {}), OF_AGENTS) / OF_AGENTS
    nq = statistics.median(took["nq"]) if "nq" in took else 0.0
    mine = statistics.median(jobs)
    whole = f"{ms(mine)} ({ms(mine / TASKS)} each)"
    against = f"nq {ms(nq)}" if nq else "nq is not there"
    return [
        Row(f"{TITLE}, {SLOTS} slots", whole, against, mine / nq if nq else 0, "x", LIMIT if nq else None),
        *(Row(f"  {name}", "", ms(statistics.median(each)), 0, "ms") for name, each in took.items()),
        Row("  as an agent's tasks in place, each", ms(alone), "", 0, "ms"),
        Row(f"  as an agent's tasks in {SLOTS} worktrees, each", ms(together), "", 0, "ms"),
    ]


def _lay(root: Path, tasks: list[dict[str, Any]], more: Mapping[str, Any]) -> Path:
    """A project with *tasks* to do."""
    lay_project(root)
    settings = {"agent": {"name": "command", "line": "/bin/true"}, "sandbox": "none", **more}
    (root / "PROJECT.yaml").write_text(json.dumps(settings))
    (root / "TASKS.yaml").write_text("version: 1\ntasks:\n" + "".join(f"  - {json.dumps(task)}\n" for task in tasks))
    (root / "STATE.json").write_text(json.dumps({"state": "DEV_READY", "interactive_mode": False}))
    return root


def _jobs(count: int) -> list[dict[str, Any]]:
    return [{"id": f"T{n}", "title": "Nothing", "status": "todo", "steps": ["true"]} for n in range(count)]


def _tasks(count: int) -> list[dict[str, Any]]:
    return [{"id": f"T{n}", "title": "Nothing", "status": "todo", "verify": ["true"]} for n in range(count)]


def _repository(root: Path) -> Path:
    root.mkdir()
    (root / "README").write_text("nothing\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "README")
    git(root, "commit", "-qm", "nothing")
    return root


def _run(root: Path, count: int) -> float:
    """Work the plan of *count* tasks off; the time in seconds. Raises RuntimeError where not all is done."""
    took = run_once([AIFRAME, "run", "--project", str(root)], root).wall_s
    done = (root / "TASKS.yaml").read_text().count('"status": "done"')
    if done != count:
        raise RuntimeError(f"{done} of {count} tasks were done; see {root}/logs")
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
