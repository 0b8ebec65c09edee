"""A runner that is a copy of its starter, whose life goes on in it in nothing. Each case is a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from aiframe.process import MissingFolder, can_fork, fork_runner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many threads a process has")

BEGIN = """
import atexit, gc, json, os, signal, sys, threading, time
from pathlib import Path
from aiframe.process import can_fork, fork_runner, wait_for_spawned
here = Path.cwd()
def start(work, keep_fds=(), title=("aiframe.app.runner", "x"), env=None):
    assert can_fork()
    env = env or {"PATH": os.environ["PATH"]}
    return fork_runner(work, title=title, cwd=here / "project", env=env, keep_fds=keep_fds, log=here / "log")
def tell(**found):
    (here / "told").write_text(json.dumps(found))
    return 0
def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def play(folder: Path, program: str) -> tuple[str, dict[str, Any]]:
    """Run *program* in *folder*, in a session of its own; what it printed, and what its runner told."""
    (folder / "project").mkdir(exist_ok=True)
    script = folder / "program.py"
    script.write_text(BEGIN.replace("", "") + program)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LEFT": "over"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=env, capture_output=True, text=True, timeout=60,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = folder / "told"
    return done.stdout, json.loads(told.read_text()) if told.exists() else {}


def test_it_stands_on_its_own(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    program = """
reader, writer = os.pipe()
stranger = os.dup(reader)
os.set_inheritable(stranger, True)
def work():
    print("out"), print("err", file=sys.stderr), os.write(1, b"raw\\n")
    names = [int(name) for name in os.listdir("/proc/self/fd")]
    tell(sid=os.getsid(0), pid=os.getpid(), env=dict(os.environ), cwd=os.getcwd(), stdin=sys.stdin.read(),
         fds=[fd for fd in names if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")], kept=writer)
    return 7
pid = start(work, [writer], env={"ONLY": "this"})
os.close(writer)
assert os.getsid(pid) == pid, "it is not on its own when the call returns"
assert code_of(pid) == 7
"""
    out, told = play(tmp_path, program)
    assert out == ""
    assert told["sid"] == told["pid"]
    assert told["env"] == {"ONLY": "this"}
    assert told["cwd"] == str(tmp_path / "project")
    assert told["stdin"] == ""
    assert told["fds"] == [told["kept"]]
    assert (tmp_path / "log").read_text() == "before\nout\nerr\nraw\n"


def test_the_environment_may_be_our_own(tmp_path: Path) -> None:
    program = "pid = start(lambda: tell(left=os.environ.get('LEFT')), env=os.environ)\nassert code_of(pid) == 0"
    assert play(tmp_path, program)[1] == {"left": "over"}


@pytest.mark.parametrize("stream", ["sys.stdout", "open(1, 'w', closefd=False)"], ids=["its own", "another"])
def test_output_and_cleaning_up_stay_with_the_starter(tmp_path: Path, stream: str) -> None:
    program = f"""
sys.stdout = {stream}
atexit.register(lambda: print("cleaned up", os.getpid() == me))
me = os.getpid()
print("half a line", end=" ")
assert code_of(start(lambda: print("half a line too", end="") or 0)) == 0
print("and the rest")
"""
    assert play(tmp_path, program)[0] == "half a line and the rest\ncleaned up True\n"
    assert (tmp_path / "log").read_text() == "half a line too"


@pytest.mark.parametrize(
    ("work", "words"),
    [
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="a fault"),
        pytest.param("sys.exit('enough')", "SystemExit: enough", id="sys.exit"),
        pytest.param("os.kill(os.getpid(), signal.SIGINT) or time.sleep(9)", "", id="killed by a signal"),
    ],
)
def test_whatever_happens_it_never_goes_on_as_its_starter(tmp_path: Path, work: str, words: str) -> None:
    program = f"""
try:
    pid = start(lambda: {work})
finally:
    print("once")
assert code_of(pid) == {1 if words else -signal.SIGINT}
"""
    assert play(tmp_path, program)[0] == "once\n"
    assert words in (tmp_path / "log").read_text()


def test_signals_are_as_in_a_new_program(tmp_path: Path) -> None:
    program = """
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
def work():
    names = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGPIPE")
    kinds = {name: int(signal.getsignal(getattr(signal, name))) for name in names}
    return tell(blocked=len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), **kinds)
assert code_of(start(work)) == 0
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR2}
assert callable(signal.getsignal(signal.SIGTERM))
"""
    default, ignored = int(signal.SIG_DFL), int(signal.SIG_IGN)
    assert play(tmp_path, program)[1] == {
        "blocked": 0, "SIGTERM": default, "SIGINT": default, "SIGUSR1": default, "SIGHUP": ignored, "SIGPIPE": ignored,
    }  # fmt: skip


@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
def test_a_signal_to_the_starters_group_does_not_reach_it(tmp_path: Path, sign: str) -> None:
    """Not even one that comes before it has left the group."""
    program = f"""
signal.signal(signal.{sign}, lambda *_: print("handled", flush=True))
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.{sign}))
pid = start(lambda: time.sleep(0.3) or tell(lived=True))
os.killpg(0, signal.{sign})
assert code_of(pid) == 0
"""
    out, told = play(tmp_path, program)
    assert told == {"lived": True}
    assert out == "handled\n"


def test_what_the_starter_left_unreachable_closes_nothing(tmp_path: Path) -> None:
    program = """
gc.disable()
class Loop:
    pass
one = Loop()
one.self, one.file = one, open(here / "garbage", "w")
number = one.file.fileno()
del one
def work():
    while (mine := os.open(here / "mine", os.O_CREAT | os.O_WRONLY)) < number:
        pass
    gc.collect()
    return tell(written=os.write(mine, b"mine"), same=mine == number)
assert code_of(start(work)) == 0
"""
    assert play(tmp_path, program)[1] == {"written": 4, "same": True}


def test_it_loads_nothing_from_the_folder_of_its_starter(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("")
    program = """
def work():
    try:
        import planted
    except ImportError:
        import colorsys
        return tell(found=False)
    return tell(found=True)
assert code_of(start(work)) == 0
"""
    assert play(tmp_path, program)[1] == {"found": False}


@pytest.mark.parametrize("name", ["x", "x" * 10_000], ids=["short", "longer than our command line"])
def test_it_shows_what_it_is(tmp_path: Path, name: str) -> None:
    program = f"""
def work():
    environ = Path("/proc/self/environ").read_bytes()
    return tell(line=Path("/proc/self/cmdline").read_text(), left=b"LEFT=over" in environ)
assert code_of(start(work, title=["aiframe.app.runner", {name!r}])) == 0
assert "program.py" in Path("/proc/self/cmdline").read_text()
"""
    told = play(tmp_path, program)[1]
    assert told["left"], "what a process was started with is how it is found"
    program_name, argument = told["line"].rstrip("\0").split("\0")
    assert program_name == "aiframe.app.runner"
    assert name.startswith(argument)


def test_its_end_is_noticed_at_once_and_leaves_no_zombie(tmp_path: Path) -> None:
    program = """
pid = start(lambda: time.sleep(0.2) or 0)
began = time.monotonic()
wait_for_spawned(pid, 30)
assert time.monotonic() - began < 20
assert not Path(f"/proc/{pid}").exists()
began = time.monotonic()
wait_for_spawned(pid, 0.2)
assert time.monotonic() - began >= 0.2, "nobody tells of it twice, and waiting must not become spinning"
"""
    play(tmp_path, program)


def test_its_starter_is_killed_and_it_goes_on(tmp_path: Path) -> None:
    program = """
child = os.fork()
if child == 0:
    start(lambda: time.sleep(0.3) or tell(parent=os.getppid()))
    os.kill(os.getpid(), signal.SIGKILL)
assert code_of(child) == -signal.SIGKILL
while not (here / "told").exists() or not (here / "told").read_text():
    time.sleep(0.01)
"""
    assert "parent" in play(tmp_path, program)[1]


def test_a_process_with_threads_is_not_copied() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert not can_fork()
    finally:
        over.set()
        thread.join()


def test_a_folder_that_is_missing_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(MissingFolder):
        fork_runner(lambda: 0, title=[], cwd=tmp_path / "no", env={}, keep_fds=[], log=tmp_path / "log")
    assert not (tmp_path / "log").exists()
