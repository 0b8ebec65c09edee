"""Watch: every change, every end of a wait and every end of a run gets its tick; trouble in one project stays there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.projects import DEADLINE_S, Bench, dev, lay_project, lock_free, play, task, wait_for

from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock

NEVER = 3600.0
"""An interval so long that only an event can be the reason for what happens."""

SCRIPT = """
import os, sys
from pathlib import Path
from aiframe.app.making.frame import all_projects
from aiframe.app.watching.watch import watch
frame, interval, parallel = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
def say(line):
    print(line, flush=True)
sys.exit(watch(lambda: all_projects(frame), os.environ, interval=interval, parallel=parallel, out=say))
"""


@dataclass(slots=True)
class Watching:
    """A watch in a process of its own, and what it has printed."""

    process: subprocess.Popen[bytes]
    printed: Path

    @property
    def lines(self) -> list[str]:
        return self.printed.read_text().splitlines()

    def says(self, text: str) -> None:
        """Wait until a line holds *text*."""
        wait_for(lambda: any(text in line for line in self.lines), f"{text!r} in {self.printed}")

    def end(self, sign: int = signal.SIGTERM) -> int:
        """End it as a person or the system does; its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(DEADLINE_S)


@contextmanager
def watching(frame: Path, interval: float = NEVER, parallel: int = 2, path: Path | None = None) -> Iterator[Watching]:
    """Watch all projects of *frame*; once it has begun, the block begins. *path* is where Python looks first."""
    printed = frame.parent / "printed"
    first = [str(path)] if path else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*first, *(path for path in sys.path if path)])}
    with printed.open("ab") as out:
        argv = [sys.executable, "-c", SCRIPT, str(frame), str(interval), str(parallel)]
        process = subprocess.Popen(argv, cwd=frame, env=env, stdout=out, stderr=out)
    found = Watching(process, printed)
    try:
        found.says("watching ")
        yield found
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for state in (frame / "projects").glob("*/.git/aiframe/control.json"):
            settle(Bench(state.parents[2]))
    assert "Traceback" not in printed.read_text()


def settle(bench: Bench) -> None:
    """Leave no run behind."""
    if not lock_free(bench):
        bench.do("stop")
        wait_for(lambda: lock_free(bench), "the end of the run")


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """An empty frame."""
    root = tmp_path / "frame"
    (root / "projects").mkdir(parents=True)
    (root / "TEMPLATE_ROOT").write_text("")
    return root


def lay(frame: Path, name: str, *tasks: dict[str, Any], run: str = "true", **more: Any) -> Bench:
    """A project in *frame* whose agent runs *run* for each task."""
    folder = frame / "projects"
    bench = lay_project(folder, *(tasks or (task("T1", "true"),)), name=name, **more)
    script = folder / f".{name}.json"
    script.write_text(json.dumps({"version": 1, "turns": [dev(run=[run])]}))
    bench.write("PROJECT.yaml", json.dumps({"agent": {"name": "scripted", "file": str(script)}, "sandbox": "none"}))
    return bench


def is_at(bench: Bench, state: str) -> None:
    """Wait until *bench* stands in *state* and rests."""
    wait_for(lambda: bench.where == state and lock_free(bench), f"{state} of {bench.root.name}")


def test_a_project_goes_on_by_itself_from_run_to_run(frame: Path) -> None:
    tasks = [task(f"T{number}", "true") for number in range(5)]  # more than one runner works off
    bench = lay(frame, "shop", *tasks)
    with watching(frame) as watch:
        watch.says("Done: no task is open")
        assert bench.where == "DONE"
        assert watch.lines[1] == "shop: DEV on T0, attempt 1: started"
        assert sum("started" in line for line in watch.lines) == 5
        assert watch.end() == 0
    assert watch.lines[-1] == "stopped watching"


@pytest.mark.parametrize("notes", [True, False], ids=["with notes/", "without notes/"])
def test_an_approval_is_heard_at_once(frame: Path, notes: bool) -> None:
    bench = lay(frame, "shop", task("T1", "true", status="review"), state={"state": "REVIEW_WAITING"})
    if notes:
        (bench.root / "notes").mkdir()
    with watching(frame) as watch:
        watch.says("A review of T1 waits for you")
        bench.write("notes/review_approval.md", "fine")
        watch.says("REVIEW_WAITING -> DONE")
    assert not (bench.root / "notes" / "review_approval.md").exists()


@pytest.mark.parametrize("way", ["in place", "replaced"])
def test_a_hand_set_state_is_heard_at_once(frame: Path, way: str) -> None:
    bench = lay(frame, "shop", state="PAUSED")
    with watching(frame) as watch:
        watch.says("Paused")
        if way == "in place":
            bench.edit_state(state="DEV_READY")
        else:
            other = bench.write("STATE.new", json.dumps({**bench.state, "state": "DEV_READY"}))
            other.rename(bench.root / "STATE.json")
        is_at(bench, "DONE")


def test_a_change_during_a_step_gets_its_turn_after_it(frame: Path) -> None:
    bench = lay(frame, "shop", task("T1", "true"), task("T2", "true", status="cancelled"), run="touch ../a; sleep 1")
    with watching(frame) as watch:
        wait_for((frame / "projects" / "a").exists, "the agent")
        bench.write("notes/interrupt.flag", "")
        bench.edit_state(state="PAUSED")
        watch.says("Paused")
    assert bench.where == "PAUSED"


def test_the_end_of_a_wait_is_kept_to_without_an_event(frame: Path) -> None:
    end = time.time() + 3
    bench = lay(frame, "shop", state={"state": "DEV_READY", "interactive_mode": False, "not_before": end})
    (bench.root / ".git").mkdir()  # where there is a place for the stamp
    bench.git("init", "-q")
    (bench.root / ".git" / "aiframe").mkdir()
    with watching(frame) as watch:
        watch.says("The next step waits")
        is_at(bench, "DONE")
    started = next(event["ts"] for event in bench.events if event["kind"] == "step_started")
    assert end <= started


def test_the_timer_finds_what_no_event_told(frame: Path) -> None:
    bench = lay(frame, "shop", task("T1", "true", status="done"), state="DONE")
    elsewhere = frame.parent / "TASKS.yaml"
    (bench.root / "TASKS.yaml").rename(elsewhere)
    (bench.root / "TASKS.yaml").symlink_to(elsewhere)
    with watching(frame, interval=0.5) as watch:
        watch.says("Done: no task is open")
        elsewhere.write_text(elsewhere.read_text().replace('"done"', '"todo"'))
        watch.says("Done once, but 1 task is open")


def test_no_more_steps_at_once_than_asked_for(frame: Path) -> None:
    names = ["a", "b", "c"]
    benches = [lay(frame, name, *(task(f"T{n}", "true") for n in range(2)), run="sleep 0.1") for name in names]
    with watching(frame, parallel=1) as watch:
        for bench in benches:
            is_at(bench, "DONE")
        waited = [line for line in watch.lines if "waits for a free place" in line]
        assert waited
    told = [e for bench in benches for e in bench.events if e["kind"] in ("step_started", "step_ended")]
    kinds = [event["kind"] for event in sorted(told, key=lambda event: float(event["ts"]))]
    assert kinds == ["step_started", "step_ended"] * 6  # one after the other, never two at once


def test_a_runner_that_closes_its_books_still_has_its_place(frame: Path) -> None:
    closing, next_one = lay(frame, "a", task("T1", "true", status="done"), state="DONE"), lay(frame, "b")
    closing.git("init", "-q")
    lock = RunLock.try_take(Layout(closing.root))
    assert lock is not None
    with watching(frame, parallel=1) as watch:
        watch.says("b: waits for a free place: 1 of 1 are taken")
        assert next_one.where == "DEV_READY"
        lock.close_here()
        is_at(next_one, "DONE")
        watch.says("a: Done: no task is open")
    assert not any("ended at once" in line for line in watch.lines)


def test_turns_go_round(frame: Path) -> None:
    """With one place and one task a run, nobody is passed over."""
    benches = [lay(frame, name, *(task(f"T{n}", "true") for n in range(2))) for name in ("a", "b", "c")]
    for bench in benches:
        settings = json.loads(bench.text("PROJECT.yaml"))
        bench.write("PROJECT.yaml", json.dumps({**settings, "limits": {"dev_chain_limit": 1}}))
    with watching(frame, parallel=1):
        for bench in benches:
            is_at(bench, "DONE")
    order = sorted((e["ts"], b.root.name) for b in benches for e in b.events if e["kind"] == "step_started")
    assert [name for _, name in order] == ["a", "b", "c"] * 2


def test_trouble_in_one_project_is_told_once_and_stops_no_other(frame: Path) -> None:
    broken, wrong, fine = lay(frame, "broken"), lay(frame, "error", state="ERROR"), lay(frame, "fine")
    good = broken.text("TASKS.yaml")
    broken.write("TASKS.yaml", "tasks: [")
    with watching(frame, interval=0.2) as watch:
        is_at(fine, "DONE")
        watch.says("error: Stopped by an error")
        time.sleep(1)  # some intervals
        assert [line.split(":")[1] for line in watch.lines if line.startswith("broken: ")] == [" error"]
        assert sum(line.startswith("error: ") for line in watch.lines) == 1
        broken.write("TASKS.yaml", good)
        is_at(broken, "DONE")
    assert wrong.where == "ERROR"


def test_trouble_that_may_pass_is_tried_again_and_told_once(frame: Path) -> None:
    bench = lay(frame, "shop")
    lock = Layout(bench.root).run_lock
    bench.git("init", "-q")
    lock.symlink_to(lock)
    with watching(frame, interval=0.2) as watch:
        watch.says(f"{lock.name}: cannot look")
        time.sleep(1)  # some intervals
        assert sum(line.startswith("shop: ") for line in watch.lines) == 1
        lock.unlink()
        is_at(bench, "DONE")


def test_new_projects_are_found_and_old_ones_may_go(frame: Path) -> None:
    gone = lay(frame, "gone", state="PAUSED")
    with watching(frame) as watch:
        watch.says("gone: Paused")
        gone.root.rename(frame / "gone")
        bench = build_elsewhere(frame, "late")
        is_at(bench, "DONE")
        assert watch.process.poll() is None


def build_elsewhere(frame: Path, name: str) -> Bench:
    """A project that comes into its place whole, as `init` makes one."""
    nursery = frame / "projects" / f".new-{name}"
    nursery.mkdir()
    bench = lay_project(nursery, task("T1", "true"), name=name)
    play(bench, [dev()])
    bench.root.rename(frame / "projects" / name)
    return Bench(frame / "projects" / name)


def listener(watch: Watching, other_than: int = 0) -> psutil.Process:
    """The companion of *watch* that listens, once there is one."""

    def find() -> psutil.Process | None:
        for process in psutil.Process(watch.process.pid).children():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if process.pid != other_than and "aiframe.app.watching.listener" in process.cmdline():
                    return process
        return None

    found = wait_for(find, "the listener")
    assert isinstance(found, psutil.Process)
    return found


def test_a_listener_that_dies_is_replaced_and_nothing_is_missed(frame: Path) -> None:
    bench = lay(frame, "shop", state="PAUSED")
    with watching(frame) as watch:
        watch.says("Paused")
        first = listener(watch)
        first.send_signal(signal.SIGKILL)
        watch.says("what listens for changes has died (signal 9); another one takes its place")
        bench.edit_state(state="DEV_READY")
        is_at(bench, "DONE")  # by the look at everything, or by the new one
        second = listener(watch, other_than=first.pid)
        watch.end()
        assert not second.is_running()


def test_nothing_listens_on_when_the_watch_is_killed(frame: Path) -> None:
    lay(frame, "shop", state="PAUSED")
    with watching(frame) as watch:
        heard = listener(watch)
        watch.end(signal.SIGKILL)
        wait_for(lambda: not heard.is_running() or heard.status() == psutil.STATUS_ZOMBIE, "the end of the listener")


def test_without_file_events_the_timer_looks(frame: Path) -> None:
    bench = lay(frame, "shop", state="PAUSED")
    program = frame.parent / "broken" / "watchfiles"
    program.mkdir(parents=True)
    (program / "__init__.py").write_text("def watch(*_, **__):\n    raise OSError('none left')\n    yield\n")
    with watching(frame, interval=0.5, path=program.parent) as watch:
        watch.says("no file events here, so only the timer looks: none left")
        bench.edit_state(state="DEV_READY")
        is_at(bench, "DONE")


def test_a_listener_that_cannot_start_is_given_up(frame: Path) -> None:
    bench = lay(frame, "shop", state="PAUSED")
    program = frame.parent / "broken"
    program.mkdir()
    (program / "watchfiles.py").write_text("raise ImportError('broken')\n")
    with watching(frame, interval=0.5, path=program) as watch:
        watch.says("no file events here, so only the timer looks: what listens for them does not start (exit code 1)")
        assert sum("has died" in line for line in watch.lines) == 1
        bench.edit_state(state="DEV_READY")
        is_at(bench, "DONE")


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process is copied")
def test_a_watch_has_one_thread_and_its_runners_are_copies_of_it(frame: Path) -> None:
    lay(frame, "shop", run="touch ../here; sleep 1")
    with watching(frame) as watch:
        wait_for((frame / "projects" / "here").exists, "the agent")
        of_watch = psutil.Process(watch.process.pid)
        assert of_watch.num_threads() == 1
        alive = [p for p in of_watch.children() if p.status() != psutil.STATUS_ZOMBIE]
        runner = next(p for p in alive if "aiframe.app.runner" in p.cmdline())
        assert not [word for word in runner.cmdline() if "python" in word]  # a new interpreter would show its own
        assert os.getsid(runner.pid) == runner.pid


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_end_of_the_watch_is_not_the_end_of_a_step(frame: Path, sign: int) -> None:
    bench = lay(frame, "shop", run="touch ../here; sleep 1.5")
    with watching(frame) as watch:
        wait_for((frame / "projects" / "here").exists, "the agent")
        assert watch.end(sign) == 0
        assert watch.lines[-1] == "stopped watching; what runs goes on by itself: shop"
        assert not lock_free(bench)
        is_at(bench, "DONE")


def test_a_watch_at_rest_writes_nothing(frame: Path) -> None:
    bench = lay(frame, "shop")
    with watching(frame, interval=0.2) as watch:
        watch.says("Done: no task is open")
        wait_for((bench.control_dir / "idle").exists, "the stamp")
        before, said = bench.stamps(), watch.lines
        stamp = (bench.control_dir / "idle").stat().st_ino
        time.sleep(1)
        assert bench.stamps() == before
        assert (bench.control_dir / "idle").stat().st_ino == stamp
        assert watch.lines == said


def test_a_runner_that_cannot_begin_is_not_started_again_and_again(frame: Path) -> None:
    bench = lay(frame, "shop")
    bench.git("init", "-q")
    (bench.control_dir / "state.lock").mkdir(parents=True)  # no mutex to be had
    with watching(frame) as watch:
        watch.says("its step ended at once and left nothing")
        time.sleep(1)
        assert sum("ended at once" in line for line in watch.lines) == 1
        log = bench.text(".git/aiframe/runner.log")
        assert log.count("error:") == 1
    assert all(first != second for first, second in pairwise(watch.lines))
