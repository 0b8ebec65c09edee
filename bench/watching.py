"""`aiframe watch`: how soon it wakes up, and what it costs while there is nothing to do."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.measuring import AIFRAME, Row, environment, ms
from bench.projects import add_task, await_end, come_to_rest, lay_project, newest_run, open_again
from bench.resting import PROJECTS

ROUNDS = 15
SETTLE_S = 1.0
WATCHED_S = 40.0
"""Four rounds of its timer: of one, chance decides whether a look falls into it once or twice."""


def measure_latency(folder: Path) -> list[Row]:
    """From the moment before STATE.json is saved to the time that the agent prints."""
    root = lay_project(folder / "watched")
    come_to_rest(root)
    took = []
    with _watch(["--project", str(root)], folder):
        for number in range(1, ROUNDS + 1):
            add_task(root, number)
            time.sleep(SETTLE_S)
            saved = time.time()
            open_again(root)
            await_end(root, number)
            started = int((newest_run(root) / "agent.jsonl").read_text().split()[0]) / 1e9
            took.append(started - saved)
    middle = statistics.median(took)
    return [Row("watch: file saved to agent started", ms(middle), f"worst {ms(max(took))}", middle * 1000, "ms", 150)]


def measure_idle_watch(folder: Path) -> list[Row]:
    """Share of a core and memory while PROJECTS projects rest, of the watcher and what it has started to listen."""
    with _watch(["--all", "--frame", str(folder / "frame")], folder) as watcher:
        process = psutil.Process(watcher.pid)
        _await_calm(process)
        before, began = _cpu_s(process), time.monotonic()
        time.sleep(WATCHED_S)
        share = (_cpu_s(process) - before) / (time.monotonic() - began) * 100
        family = _family(process)
        resident = sum(each.memory_info().rss for each in family) / 1e6
    if len(family) < 2:
        raise RuntimeError("aiframe watch has nothing that listens, so this is not what it costs")
    title = f"watch: {PROJECTS:,} projects at rest"
    return [
        Row(f"{title}, share of a core", f"{share:.2f} %", f"over {WATCHED_S:g} s", share, "%", 1.0),
        Row(f"{title}, memory", f"{resident:.0f} MB", "", resident, "MB", 80),
    ]


@contextmanager
def _watch(options: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "watch.log"
    with log.open("wb") as out:
        watcher = subprocess.Popen(
            [AIFRAME, "watch", *options],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        time.sleep(2 * SETTLE_S)
        if watcher.poll() is not None:
            raise RuntimeError(f"aiframe watch ended at once: {log.read_text().strip()}")
        yield watcher
    finally:
        watcher.send_signal(signal.SIGINT)
        watcher.wait(timeout=30)


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    """Of *process* and all that it has started, be it over or not."""
    times = [each.cpu_times() for each in _family(process)]
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


def _await_calm(process: psutil.Process) -> None:
    """Wait for the end of the first look at everything: a second in which it does next to nothing."""
    for _ in range(60):
        before = _cpu_s(process)
        time.sleep(SETTLE_S)
        if _cpu_s(process) - before < SETTLE_S / 20:
            return
    raise RuntimeError("aiframe watch did not come to rest within a minute")
