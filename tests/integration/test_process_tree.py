"""Nothing of a run outlives it, whichever of its processes dies, and however a tool of the agent tries to get away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.crews import eventually

import aiframe
from aiframe import living
from aiframe.core.ports import Command, Exit
from aiframe.process import Limits, carriers, cookie, reap, supervise

pytestmark = pytest.mark.skipif(not living.LINUX, reason="orphans come back to a guardian on Linux only")

PATH = {"PATH": os.environ["PATH"]}
SOURCE = Path(aiframe.__file__).parents[1]

# An agent with every kind of tool process: below it, in a session of its own, without its environment, and a daemon
# that has left parent, session and environment. Each writes its id, the agent last; then it does what it is told.
AGENT = """
import os, subprocess, sys, time
SLEEP = "import os, sys; open(sys.argv[1], 'x').write(str(os.getpid())); import time; time.sleep(60)"
def tool(name, **options):
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP, name], **options)
def daemon(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", SLEEP, name], {})
        os._exit(0)
    os.wait()
tool("child")
tool("session", start_new_session=True)
tool("bare", env={})
daemon("daemon")
names = ["child", "session", "bare", "daemon"]
while not all(os.path.exists(name) and os.path.getsize(name) for name in names):
    time.sleep(0.01)
open("agent.new", "w").write(str(os.getpid()))
os.rename("agent.new", "agent")
print("up", flush=True)
"""
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
NAMES = ("agent", "child", "session", "bare", "daemon")

# A runner: supervises the command that its arguments name, then writes how it ended.
RUNNER = """
import json, os, sys, threading, time
from pathlib import Path
from aiframe.core.ports import Command
if "WITH_THREAD" in os.environ:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
from aiframe.process import Limits, supervise
run_id, seconds, *argv = sys.argv[1:]
nothing = lambda *_: None
ended = supervise(
    Command(tuple(argv), Path.cwd()), run_id=run_id, limits=Limits(float(seconds), 0, poll_s=0.1), on_stdout=nothing,
    on_stderr=nothing, beat=nothing, fingerprint=nothing, env_base={"PATH": "PATH_HERE", "PYTHONPATH": "SOURCE_HERE"},
)
Path("ended").write_text(json.dumps([ended.code, ended.reason]))
""".replace("PATH_HERE", PATH["PATH"]).replace("SOURCE_HERE", str(SOURCE))


def agent(then: str) -> tuple[str, ...]:
    """The command line of AGENT that does *then* once all are up."""
    return sys.executable, "-I", "-c", AGENT + then


def run(*argv: str, cwd: Path, on_stdout: Callable[[bytes], None] = lambda _: None, **options: Any) -> Exit:
    """`supervise` with all that a test does not care about filled in. Run ids must differ across parallel tests."""
    callbacks: dict[str, Any] = dict.fromkeys(("on_stderr", "beat", "fingerprint"), lambda *_: None)
    settings: dict[str, Any] = {"limits": Limits(30, 0, term_grace_s=0.5, poll_s=0.05), **callbacks, **options}
    return supervise(Command(argv, cwd), run_id=str(cwd), env_base=PATH, on_stdout=on_stdout, **settings)


def pid_of(folder: Path, name: str) -> int:
    """The id that a process has written."""
    return int((folder / name).read_text())


def alive(folder: Path) -> list[str]:
    """The names of the agent's processes that are alive."""
    table = living.process_table()
    return [name for name in NAMES if pid_of(folder, name) in table]


@pytest.fixture(params=["copied", "interpreted"])
def runner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a runner process in *tmp_path* that supervises a command; returns when its agent is up.

    Its guardian is a copy of it, or an interpreter of its own: with a second thread no process can be copied.
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "KEY_OF_THE_RUNNER": "sesame"}
    environment |= {"WITH_THREAD": "1"} if request.param == "interpreted" else {}
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, run_id: str = str(tmp_path), seconds: float = 60) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, run_id, str(seconds), *argv], cwd=tmp_path,
            env=environment, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        assert eventually((tmp_path / "agent").exists)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def guardian_of(runner_pid: int) -> int:
    """The id of the guardian that a runner has started."""
    return next(pid for pid, entry in living.process_table().items() if entry.parent == runner_pid)


@pytest.mark.parametrize(
    ("then", "code"),
    [
        pytest.param("sys.exit(3)", 3, id="it exits"),
        pytest.param("os.kill(os.getpid(), 9)", -9, id="it is killed"),
        pytest.param("os.kill(os.getppid(), 15); time.sleep(60)", -9, id="it ends its guardian"),
        pytest.param("os.kill(os.getppid(), 9); time.sleep(60)", -9, id="it kills its guardian"),
    ],
)
def test_nothing_outlives_the_agent(tmp_path: Path, then: str, code: int) -> None:
    ended = run(*agent(then), cwd=tmp_path)
    assert (ended.code, ended.reason) == (code, "exit")
    assert alive(tmp_path) == []
    assert carriers(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("then", "code"),
    [
        pytest.param("time.sleep(60)", -15, id="it obeys SIGTERM"),
        pytest.param(STUBBORN, -9, id="it does not"),
        pytest.param("os.kill(os.getpid(), 19)", -15, id="it has stopped itself"),
    ],
)
def test_nothing_outlives_a_stop(tmp_path: Path, then: str, code: int) -> None:
    ended = run(*agent(then), cwd=tmp_path, should_stop=(tmp_path / "agent").exists)
    assert (ended.code, ended.reason) == (code, "stopped")
    assert alive(tmp_path) == []


def test_a_carrier_that_is_nobody_below_us_ends_too(tmp_path: Path) -> None:
    environ = {**PATH, cookie(str(tmp_path)): "1"}
    argv = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(60)"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE) as stranger:  # as if a daemon had started it
        assert stranger.stdout is not None
        stranger.stdout.readline()
        assert run("true", cwd=tmp_path).code == 0
        assert stranger.wait() == -signal.SIGKILL


def test_a_stopped_guardian_saves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiframe.process.tree.PATIENCE_S", 0.5)
    ended = run(
        *agent("os.kill(os.getppid(), 19); time.sleep(60)"), cwd=tmp_path, limits=Limits(1, 0, term_grace_s=0.2)
    )
    assert (ended.code, ended.reason) == (-9, "timeout")
    assert alive(tmp_path) == []


def test_a_daemon_that_keeps_the_output_open_does_not_hang_the_runner(tmp_path: Path) -> None:
    got = bytearray()
    ended = run("sh", "-c", "setsid sleep 60 & echo mine", cwd=tmp_path, on_stdout=got.extend)
    assert (ended.code, bytes(got)) == (0, b"mine\n")
    assert ended.duration_s < 20


def test_a_chain_of_short_lived_processes_is_caught(tmp_path: Path) -> None:
    """Each link starts the next, in a session of its own, and goes at once: a list of processes is always too old."""
    link = """
import os
for n in range(100000):
    if os.fork(): os._exit(0)
    os.setsid()
    if n % 50 == 0: os.utime("beat")
"""
    (tmp_path / "beat").touch()
    born = (tmp_path / "beat").stat().st_mtime_ns
    ended = run("sh", "-c", f'for n in 1 2 3; do {sys.executable} -I -S -c "$0" & done; sleep 0.3', link, cwd=tmp_path)
    last = (tmp_path / "beat").stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / "beat").stat().st_mtime_ns == last > born
    assert ended.duration_s < 5


def test_a_child_of_the_callers_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(("sh", "-c", "sleep 60 & wait")) as mine:
        run(*agent("os.kill(os.getppid(), 9); time.sleep(60)"), cwd=tmp_path)
        table = living.process_table()
        tree = {mine.pid} | living.below(table, [mine.pid])
        still_there = len(tree & table.keys())
        living.signal_all(tree, signal.SIGKILL)
    assert still_there == 2


def test_nothing_outlives_the_runner(tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = runner(*agent(STUBBORN))
    assert alive(tmp_path) == list(NAMES)
    watcher = guardian_of(process.pid)
    assert {os.readlink(f"/proc/{watcher}/fd/{stream}") for stream in (0, 1, 2)} == {"/dev/null"}
    process.kill()
    process.wait()
    assert eventually(lambda: alive(tmp_path) == [], within_s=3)
    assert eventually(lambda: watcher not in living.process_table())
    assert carriers(str(tmp_path)) == []


def test_what_a_guardian_shows_and_holds(tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = runner(*agent("time.sleep(60)"))
    seen = Path(f"/proc/{guardian_of(process.pid)}")
    environment = (seen / "environ").read_bytes().split(b"\0")
    assert f"{cookie(str(tmp_path))}=1".encode() in environment
    assert b"KEY_OF_THE_RUNNER=sesame" not in environment
    assert b"guardian" in (seen / "cmdline").read_bytes()
    assert os.getsid(int(seen.name)) == int(seen.name)
    assert os.readlink(seen / "cwd") == str(tmp_path)
    held = [os.readlink(seen / "fd" / name) for name in os.listdir(seen / "fd")]
    assert {name.partition(":")[0] for name in held} == {"/dev/null", "pipe"}
    assert len(held) == 7  # the streams, the lifeline, the status, and a pipe on which signals arrive


def test_a_stopped_guardian_is_reaped(tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = runner(*agent("time.sleep(60)"))
    watcher = guardian_of(process.pid)
    os.kill(watcher, signal.SIGSTOP)
    process.kill()
    process.wait()
    assert alive(tmp_path) == list(NAMES)
    assert reap(str(tmp_path), term_grace_s=0.5) >= 4  # who asks it to end wakes it up, and then it ends all the others
    assert eventually(lambda: watcher not in living.process_table())
    assert alive(tmp_path) == []


def test_the_runner_outlives_its_guardian(tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = runner(*agent("time.sleep(60)"))
    os.kill(guardian_of(process.pid), signal.SIGKILL)
    assert process.wait(10) == 0
    assert json.loads((tmp_path / "ended").read_text()) == [-9, "exit"]
    assert alive(tmp_path) == []


def test_both_killed_the_agent_dies_and_reap_finds_the_rest(
    tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = runner(*agent("time.sleep(60)"))
    watcher = guardian_of(process.pid)
    os.kill(process.pid, signal.SIGSTOP)  # so that it does not see what happens to the guardian
    os.kill(watcher, signal.SIGKILL)
    process.kill()
    process.wait()
    assert eventually(lambda: "agent" not in alive(tmp_path))
    assert alive(tmp_path) == ["child", "session", "bare", "daemon"]
    assert reap(str(tmp_path)) == 2
    assert alive(tmp_path) == ["bare", "daemon"]  # orphans without a cookie: only a guardian, or a runner, finds them
    living.signal_all([pid_of(tmp_path, name) for name in ("bare", "daemon")], signal.SIGKILL)


def test_a_machine_that_stands_still_is_no_timeout(
    tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = runner(*agent("time.sleep(2); sys.exit(0)"), seconds=5)
    everything = {process.pid} | living.below(living.process_table(), [process.pid])
    living.signal_all(everything, signal.SIGSTOP)
    time.sleep(6)
    living.signal_all(everything, signal.SIGCONT)
    assert process.wait(20) == 0
    assert json.loads((tmp_path / "ended").read_text()) == [0, "exit"]


@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_a_run_inside_a_run(tmp_path: Path, runner: Callable[..., subprocess.Popen[bytes]], victim: str) -> None:
    outer, inner = f"{tmp_path}-outer", f"{tmp_path}-inner"
    process = runner(sys.executable, "-c", RUNNER, inner, "60", *agent("time.sleep(60)"), run_id=outer)
    within = {found.pid for found in carriers(inner)}
    assert within < {found.pid for found in carriers(outer)}
    assert pid_of(tmp_path, "agent") in within
    assert reap({"outer": outer, "inner": inner}[victim], term_grace_s=0.5) >= len(within)
    assert process.wait(10) == 0
    assert alive(tmp_path) == []
    ended = json.loads((tmp_path / "ended").read_text())
    assert ended[1] == "exit"


@pytest.mark.parametrize(("trap", "code"), [("", -15), ("trap '' TERM", -9)], ids=["it obeys SIGTERM", "it does not"])
def test_reap(tmp_path: Path, trap: str, code: int) -> None:
    script = f"env -i sleep 60 & echo $! > new\n{trap}\nmv new bare\nwhile :; do sleep 0.1; done"
    name = cookie(str(tmp_path))
    env = {**os.environ, name: "1"}
    with (
        subprocess.Popen(("sleep", "60")) as stranger,
        subprocess.Popen(("sleep", "60"), env=env) as spared,
        subprocess.Popen(("sh", "-c", script), env=env, cwd=tmp_path, start_new_session=True) as ours,
    ):
        try:
            assert eventually((tmp_path / "bare").exists)
            # It is a copy of its shell, variables and all, until it has become `env -i`.
            assert eventually(lambda: pid_of(tmp_path, "bare") not in {found.pid for found in carriers(str(tmp_path))})
            assert reap(str(tmp_path), spare=[spared.pid], term_grace_s=0.3) >= 2
            endings = [process.poll() for process in (stranger, spared)], ours.wait(5)
            left = [found.pid for found in carriers(str(tmp_path))]
        finally:
            for process in (stranger, spared, ours):
                process.kill()
    assert endings == ([None, None], code)
    assert left == [spared.pid]
    assert pid_of(tmp_path, "bare") not in living.process_table()


def test_nothing_to_reap(tmp_path: Path) -> None:
    assert reap(str(tmp_path)) == 0
