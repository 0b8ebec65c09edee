"""What the pipeline adds to an attempt in a large repository: its whole time, less that of the agent and the commands.

Each task takes two attempts, for its check wants two lines and the agent writes one at a time. The second is measured,
from the record of its beginning to that of its end: what its workspace took to be made belongs to the first.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiframe.store.workspace_settings import WORKSPACES
from bench.measuring import AIFRAME, Row, ms, run_once
from bench.projects import CLOCK, git, lay_project, open_again

FILES = 10_000
ROUNDS = 5
LIMITS_MS = {"in place": 300, "worktree": 300}
IMAGE = "BENCH_IMAGE"
"""The variable that names an image with git and a shell, for workspaces in containers: to fetch one takes a network."""
AGENT = f"/bin/sh -c '{CLOCK} | tee -a made-{{task}}.txt'"
CHECK = f'{CLOCK}; test "$(wc -l < made-{{task}}.txt)" -ge 2'


def measure_gates(folder: Path) -> list[Row]:
    """In each kind of workspace, and with a clean checkout: that one apart, the first and those after it."""
    os.environ["XDG_STATE_HOME"], os.environ["XDG_CACHE_HOME"] = str(folder / "state"), str(folder / "cache")
    title, repo = f"pipeline, {FILES:,} files", str(_fill(folder / "repository"))
    places = {
        "in place": _lay(folder / "in-place"),
        "worktree": _lay(folder / "linked", {"kind": "worktree", "repo": repo}),
        "clone": _lay(folder / "cloned", {"kind": "clone", "repo": repo}),
    }
    lack = _lacks_for_containers()
    if not lack:
        inside = {"kind": "container", "repo": repo, "image": os.environ[IMAGE]}
        places["container"] = _lay(folder / "contained", inside)
    rows: list[Row] = []
    for kind, root in places.items():
        rows += _rows(
            f"{title}, {kind}", [_attempts(root, number) for number in range(1, ROUNDS + 1)], LIMITS_MS.get(kind)
        )
    rows += [Row(f"{title}, container", "left out", lack, 0, "ms")] if lack else []
    clean = _lay(folder / "clean", gates={"clean_checkout": True})
    cold, *warm = [_attempts(clean, number) for number in range(1, ROUNDS + 1)]
    return [
        *rows,
        _row("  clean checkout, cold", [cold["first"]], None),
        _row("  clean checkout, warm", [each["second"] for each in warm], None),
    ]


def _lacks_for_containers() -> str:
    """What keeps containers from being measured; empty where nothing does."""
    if "container" not in WORKSPACES:
        return "no such kind"
    if not any(map(shutil.which, ("podman", "docker"))):
        return "no engine"
    return "" if os.environ.get(IMAGE) else f"{IMAGE} not set"


def _lay(root: Path, workspace: Mapping[str, str] | None = None, **more: Any) -> Path:
    """A project whose code is large: its own, or that of the repository in *workspace*."""
    lay_project(root)
    if workspace is None:
        _fill(root)
    place = {"workspace": workspace} if workspace else {}
    agent = {"name": "command", "line": AGENT}
    (root / "PROJECT.yaml").write_text(json.dumps({"agent": agent, "sandbox": "none", **place, **more}))
    return root


def _fill(root: Path) -> Path:
    """FILES files of some hundred bytes in a hundred folders, committed."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        path = root / "code" / f"part{number % 100:02}" / f"file{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number}\n" * 20)
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "code")
    git(root, "commit", "-qm", "much code")
    return root


def _attempts(root: Path, number: int) -> Mapping[str, float]:
    """Do a task in two attempts; what the pipeline took of each, and agent and check together, in seconds."""
    task, before = f"T{number}", set((root / "logs" / "runs").iterdir())
    entry = {"id": task, "title": task, "status": "todo", "verify": [CHECK.replace("{task}", task)]}
    with (root / "TASKS.yaml").open("a") as file:
        file.write(f"  - {json.dumps(entry)}\n")
    open_again(root)
    run_once([AIFRAME, "tick", "--project", str(root)], root)
    if '"status": "done"' not in (root / "TASKS.yaml").read_text().splitlines()[-1]:
        raise RuntimeError(f"task {task} was not done; see {root}/logs")
    new = sorted((run for run in set((root / "logs" / "runs").iterdir()) - before), key=_began)
    if len(new) != 2:
        raise RuntimeError(f"task {task} took {len(new)} attempts instead of 2; see {root}/logs")
    end = (root / ".git" / "aiframe" / "control.json").stat().st_mtime
    inside = _inside(root, task)
    return {
        "first": _began(new[1]) - _began(new[0]) - inside,
        "second": end - _began(new[1]) - inside,
        "inside": inside,
    }


def _began(run: Path) -> float:
    return float(json.loads((run / "result.json").read_bytes())["started_at"])


def _inside(root: Path, task: str) -> float:
    """What agent and check take by themselves, in seconds."""
    both = f"{CLOCK} | tee -a ../{task} > /dev/null; {CLOCK}"
    return run_once(["/bin/sh", "-c", both], root).wall_s + run_once(["/bin/sh", "-c", "true"], root).wall_s


def _rows(title: str, rounds: list[Mapping[str, float]], limit: float | None) -> list[Row]:
    return [
        _row(f"{title}, wall", [each["second"] for each in rounds], limit, [each["inside"] for each in rounds]),
        _row("  the attempt that makes the workspace", [each["first"] for each in rounds], None),
    ]


def _row(title: str, seconds: list[float], limit: float | None, inside: list[float] | None = None) -> Row:
    middle = statistics.median(seconds)
    return Row(title, ms(middle), ms(statistics.median(inside)) if inside else "", middle * 1000, "ms", limit)
