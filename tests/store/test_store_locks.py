"""The run lock and the state mutex, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.needs import require

from aiframe.core.errors import LockHeld
from aiframe.core.model import Moment, Project
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock, is_run_locked, state_mutex
from aiframe.store.project_store import ProjectStore

ROOT = str(Path(__file__).resolve().parents[2])
HEAD = f"import sys; sys.path.insert(0, {ROOT!r})\nfrom pathlib import Path\nfrom aiframe.store.layout import Layout\n"


@contextmanager
def child(program: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process that runs *program* and is gone at the end; wait for what it prints."""
    argv = (sys.executable, "-c", HEAD + program, *map(str, arguments))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HOLD_RUN = """
from aiframe.store.locks import RunLock
lock = RunLock.try_take(Layout(Path(sys.argv[1])))
print(bool(lock), flush=True)
sys.stdin.read()
"""


def eventually_free(layout: Layout) -> bool:
    deadline = time.monotonic() + 20
    while is_run_locked(layout) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_run_locked(layout)


def test_one_process_has_the_run_lock_until_it_dies(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with child(HOLD_RUN, tmp_path) as holder:
        assert answer(holder) == "True"
        assert is_run_locked(layout)
        assert RunLock.try_take(layout, retry_for_s=0.05) is None
        holder.kill()
        assert eventually_free(layout)
    lock = RunLock.try_take(layout)
    assert lock is not None
    assert is_run_locked(layout)
    lock.close_here()
    assert not is_run_locked(layout)


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    assert not is_run_locked(Layout(tmp_path))
    assert os.listdir(tmp_path) == []


ADOPT = """
from aiframe.store.locks import RunLock
import os, subprocess
lock = RunLock.adopt(int(sys.argv[1]))
print(os.get_inheritable(lock.fd), flush=True)
sys.stdin.read()
"""


def test_the_lock_is_handed_to_a_child_without_a_gap(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    lock = RunLock.try_take(layout)
    assert lock is not None
    assert not os.get_inheritable(lock.fd)
    with child(ADOPT, lock.fd, pass_fds=(lock.fd,)) as runner:
        lock.close_here()
        assert is_run_locked(layout)
        assert answer(runner) == "False"  # the runner's agents do not inherit it
        assert is_run_locked(layout)
        runner.kill()
        assert eventually_free(layout)


def test_adopting_what_is_no_lock(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    lock = RunLock.try_take(layout)
    assert lock is not None
    other = os.open(layout.run_lock, os.O_RDWR)
    with pytest.raises(LockHeld):
        RunLock.adopt(other)
    os.close(other)
    with pytest.raises(LockHeld):
        RunLock.adopt(other)
    lock.close_here()


def test_f27_a_removed_lock_file_is_noticed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    lock = RunLock.try_take(layout)
    assert lock is not None
    assert lock.is_current(layout)
    layout.run_lock.unlink()
    assert not lock.is_current(layout)
    lock.close_here()


TAKE = """
from aiframe.store.locks import RunLock
layout = Layout(Path(sys.argv[1]))
print(RunLock.try_take(layout).is_current(layout), flush=True)
"""


def test_f27_a_lock_file_removed_while_it_is_taken_is_worth_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    slow = (require("strace"), "-f", "-o", os.devnull, "-e", "inject=flock:delay_enter=700000:when=1")
    argv = (*slow, sys.executable, "-c", HEAD + TAKE, str(tmp_path))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as taker:
        while not layout.run_lock.exists():
            assert taker.poll() is None
        layout.run_lock.unlink()
        assert answer(taker) == "True"
    assert layout.run_lock.exists()


RACE = """
from aiframe.store.locks import RunLock
sys.stdin.readline()
print(bool(RunLock.try_take(Layout(Path(sys.argv[1])))), flush=True)
sys.stdin.read()
"""


def test_f13_of_racing_processes_one_gets_the_run_lock(tmp_path: Path) -> None:
    with child(RACE, tmp_path) as a, child(RACE, tmp_path) as b, child(RACE, tmp_path) as c, child(RACE, tmp_path) as d:
        for process in (a, b, c, d):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert sorted(answer(process) for process in (a, b, c, d)) == ["False", "False", "False", "True"]


HOLD_MUTEX = """
from aiframe.store.locks import state_mutex
import os, subprocess
with state_mutex(Layout(Path(sys.argv[1]))):
    left = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(left.pid, flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
left.kill()
left.wait()
"""


def test_the_mutex_excludes_and_is_never_inherited(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with child(HOLD_MUTEX, tmp_path) as holder:
        sleeper = int(answer(holder))
        assert holder.stdin is not None
        try:
            with pytest.raises(LockHeld) as caught, state_mutex(layout, timeout_s=0.1):
                pass
            assert caught.value.hint
            holder.kill()
            holder.wait()
            with state_mutex(layout, timeout_s=10):  # although the holder's child lives
                os.kill(sleeper, 0)
        finally:
            os.kill(sleeper, 9)


COUNT = """
from aiframe.core.model import Moment, Project
from aiframe.store.project_store import ProjectStore
store = ProjectStore(Layout(Path(sys.argv[1])))
for _ in range(10):
    with store.mutex():
        project = store.load().project
        n = project.streaks.get("n", 0)
        changed = project.evolve(streaks={"n": n + 1}, diagnosis=str(n))
        store.save(changed, Moment(1.0), expect_generation=project.generation)
print("done", flush=True)
"""


def test_f13_no_update_is_lost(tmp_path: Path) -> None:
    with child(COUNT, tmp_path) as a, child(COUNT, tmp_path) as b, child(COUNT, tmp_path) as c:
        store = ProjectStore(Layout(tmp_path))
        for beat in range(10):
            store.beat(Moment(float(beat)))
        while store.load().project.generation < 30:
            assert not store.load().edits  # a look without the mutex takes no save for an edit by hand
        assert [answer(process) for process in (a, b, c)] == ["done"] * 3
    loaded = store.load()
    assert loaded.project.streaks == {"n": 30}
    assert loaded.project.generation == 30
    assert not loaded.edits


LOOK = """
from aiframe.store.project_store import ProjectStore
store = ProjectStore(Layout(Path(sys.argv[1])))
print("ready", flush=True)
loaded = store.load()
print(loaded.edits.changed, loaded.project.diagnosis, flush=True)
"""


def test_f13_a_save_in_the_middle_of_a_look_is_no_edit(tmp_path: Path) -> None:
    store = ProjectStore(Layout(tmp_path))
    project = store.save(Project(diagnosis="old"), Moment(1.0), expect_generation=0)
    state_json = str(store.layout.state_json)
    slow = (
        require("strace"),
        "-f",
        "-o",
        os.devnull,
        "-P",
        state_json,
        "-e",
        "inject=openat:delay_enter=1000000:when=1",
    )
    argv = (*slow, sys.executable, "-c", HEAD + LOOK, str(tmp_path))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as looker:
        assert answer(looker) == "ready"
        time.sleep(0.3)  # by now it has read the control record, and strace holds it before STATE.json
        store.save(project.evolve(diagnosis="new"), Moment(2.0), expect_generation=1)
        assert answer(looker) == "() new"
