"""Projects to measure: an agent that only says when it was started, and a check that does the same."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.measuring import AIFRAME, PYTHON, run_once

DEADLINE_S = 60.0
CLOCK = "date +%s%N" if sys.platform == "linux" else f'{PYTHON} -c "import time; print(time.time_ns())"'
"""Says the time in nanoseconds; agent and check print it, and aiframe keeps what they print."""

AGENT = f"/bin/sh -c '{CLOCK} | tee made.txt'"
"""It leaves a file, so that there is something to commit."""

GIT = ("git", "-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "core.fsync=none")


def git(root: Path, *words: str) -> None:
    """Run git in *root*. Raises RuntimeError when it fails."""
    run_once(["/usr/bin/env", *GIT, *words], root)


def lay_frame(folder: Path) -> Path:
    """A new, empty frame in *folder*."""
    frame = folder / "frame"
    run_once([AIFRAME, "frame", str(frame)], folder)
    return frame


def lay_project(root: Path) -> Path:
    """A project with one task, which has been done, and with nothing left to do."""
    root.mkdir(parents=True)
    (root / "STATE.json").write_text(json.dumps({"state": "DEV_READY", "interactive_mode": False}))
    (root / "TASKS.yaml").write_text("version: 1\ntasks:\n")
    (root / "SPEC.md").write_text("# Nothing\n\nNothing is wanted.\n")
    (root / "PROJECT.yaml").write_text(json.dumps({"agent": {"name": "command", "line": AGENT}, "sandbox": "none"}))
    add_task(root, 0)
    tick(root)
    if task_state(root, 0) != "done":
        raise RuntimeError(f"the first task was not done; see {root}/logs")
    return root


def add_task(root: Path, number: int) -> None:
    """One more thing to do, as a person would add it."""
    with (root / "TASKS.yaml").open("a") as file:
        file.write(f"  - {{id: T{number}, title: Nothing {number}, status: todo, verify: [{json.dumps(CLOCK)}]}}\n")


def open_again(root: Path) -> None:
    """Send a project that is done back to work, as a person would: by hand, in STATE.json."""
    path = root / "STATE.json"
    fields = json.loads(path.read_bytes()) | {"state": "DEV_READY"}
    new = path.with_name(".STATE.json.new")
    new.write_text(json.dumps(fields, indent=2) + "\n")
    new.replace(path)


def task_state(root: Path, number: int) -> str:
    """The status of a task, as aiframe wrote it."""
    for line in (root / "TASKS.yaml").read_text().splitlines():
        if f"id: T{number}," in line:
            return line.partition("status: ")[2].partition(",")[0]
    return ""


def tick(root: Path) -> None:
    """`aiframe tick`, to its end."""
    run_once([AIFRAME, "tick", "--project", str(root)], root)


def come_to_rest(root: Path) -> None:
    """Tick until a tick leaves an idle stamp: files must be a moment old before one is trusted."""
    _until_there(root / ".git" / "aiframe" / "idle", lambda: tick(root))


def copies(frame: Path, model: Path, count: int) -> None:
    """Fill *frame* with copies of the project *model*, all of them at rest, and let a tick over all see them."""
    for number in range(count):
        shutil.copytree(model, frame / "projects" / f"p{number:04}", symlinks=True)
    every = [AIFRAME, "tick", "--all", "--frame", str(frame)]
    _until_there(frame / "projects" / ".aiframe-idle", lambda: run_once(every, frame))


def _until_there(stamp: Path, act: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    stamp.unlink(missing_ok=True)
    while not stamp.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"no idle stamp appeared at {stamp}")
        time.sleep(0.2)
        act()


def await_end(root: Path, number: int) -> None:
    """Wait until task *number* is done and its runner is gone. Raises RuntimeError when that takes too long."""
    end = time.monotonic() + DEADLINE_S
    while task_state(root, number) != "done" or _is_running(root):
        if time.monotonic() > end:
            raise RuntimeError(f"task T{number} was not done within {DEADLINE_S:g} s; see {root}/logs")
        time.sleep(0.02)


def _is_running(root: Path) -> bool:
    with (root / ".git" / "aiframe-run.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def newest_run(root: Path) -> Path:
    """The folder of the last run."""
    return max((root / "logs" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
