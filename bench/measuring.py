"""Child processes and what they cost: CPU time from their resource usage, wall time, medians of several rounds.

What is compared is run in turns, so that a noisy moment of the machine hits both sides alike. All times in seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
AIFRAME = str(Path(sys.executable).with_name("aiframe"))
"""The console script beside the interpreter that runs the bench: that of a wheel which is installed there."""

BARE = (PYTHON, "-c", "pass")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. *limit* is the target that *value* must not exceed; None for a part that explains."""

    measure: str
    ours: str
    reference: str
    value: float
    unit: str
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took."""

    cpu_s: float
    wall_s: float


def run_once(argv: Sequence[str], cwd: Path) -> Cost:
    """Run *argv* in *cwd* with no output. Raises RuntimeError when it fails."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    null = os.open(os.devnull, os.O_RDWR)
    before = os.getcwd()
    os.chdir(cwd)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, write, 2)]
        began = time.perf_counter()
        pid = os.posix_spawn(argv[0], list(argv), environment(), file_actions=[*actions, (os.POSIX_SPAWN_CLOSE, read)])
        os.close(write)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - began
        os.set_blocking(read, False)
        said = _read_all(read)
    finally:
        os.chdir(before)
        os.close(read)
        os.close(null)
    if status:
        raise RuntimeError(f"{' '.join(argv)} failed: {said.strip() or os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime + usage.ru_stime, wall)


def in_turns(rounds: int, ours: Sequence[str], reference: Sequence[str], cwd: Path) -> tuple[Cost, Cost]:
    """The median costs of two commands that are run in turns; one round of each goes first and does not count."""
    pairs = [(run_once(ours, cwd), run_once(reference, cwd)) for _ in range(rounds + 1)][1:]
    return median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each kind of time for itself."""
    return Cost(statistics.median(cost.cpu_s for cost in costs), statistics.median(cost.wall_s for cost in costs))


def ms(seconds: float) -> str:
    """*seconds* as a text in milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def environment() -> dict[str, str]:
    """The environment of everything that is measured: nothing in it changes what aiframe or Python does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIFRAME_", "GIT_", "PYTHON"))}


def _read_all(descriptor: int) -> str:
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except BlockingIOError:
        return ""
