"""Nothing of a command of a crew outlives it, nothing of a crew outlives the crew, and no neighbour is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crews import Bench, alive, eventually, pid_in, python, sleeper

import aiframe
from aiframe import living
from aiframe.process import Crew, carriers, reap

pytestmark = pytest.mark.skipif(not living.LINUX, reason="orphans come back to a foreman on Linux only")

ENV = {"PATH": os.environ["PATH"]}
SOURCE = Path(aiframe.__file__).parents[1]

# Starts a process that sleeps, in the way that the first argument names, and goes when that has written its id.
LEAVER = """
import os, subprocess, sys, time
way, name = sys.argv[1:3]
SLEEP = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); import time; time.sleep(60)"
ARGV = [sys.executable, "-I", "-S", "-c", SLEEP, name]
def daemon(env, close):
    if os.fork() == 0:
        os.setsid()
        if close:
            null = os.open("/dev/null", os.O_RDWR)
            for stream in range(3): os.dup2(null, stream)
        if os.fork() == 0:
            os.execve(ARGV[0], ARGV, env)
        os._exit(0)
    os.wait()
def untag():
    import resource
    resource.setrlimit(resource.RLIMIT_RTTIME, (-1, -1))
ways = {
    "untagged": lambda: (untag(), daemon(os.environ, True)),
    "untagged bare": lambda: (untag(), daemon({}, True)),
    "untagged bare child": lambda: (untag(), subprocess.Popen(ARGV, env={})),
    "child": lambda: subprocess.Popen(ARGV),
    "session": lambda: subprocess.Popen(ARGV, start_new_session=True),
    "bare": lambda: subprocess.Popen(ARGV, env={}),
    "daemon": lambda: daemon(os.environ, False),
    "bare daemon": lambda: daemon({}, True),
    "stopped": lambda: subprocess.Popen(ARGV),
}
ways[way]()
while not (os.path.exists(name) and os.path.getsize(name)):
    time.sleep(0.01)
if way == "stopped":
    os.kill(int(open(name).read()), 19)
print("left", flush=True)
"""
WAYS = ("child", "session", "bare", "daemon", "bare daemon", "stopped")

# Each link starts the next, in a session of its own, and goes at once: a list of processes is always too old.
CHAIN = """
import os, sys
for n in range(1000000):
    if os.fork(): os._exit(0)
    os.setsid()
    if n % 50 == 0: os.utime(sys.argv[1])
"""

# A process that holds a crew; its commands leave one process of each kind, and sleep.
HOLDER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from aiframe.core.ports import Command
from aiframe.process import Crew
here, (_, _, leaver, python, run_id, *ways) = Path.cwd(), sys.argv
line, ended = '"$@"; echo $$ > "$0"; exec sleep 60', {}
with Crew(run_id, cwd=here, env_base={"PATH": os.environ["PATH"]}) as crew:
    for way in ways:
        argv = ("/bin/sh", "-c", line, f"{way} leader", python, "-IS", "-c", leaver, way, way)
        crew.start(way, Command(argv, here), lambda chunk: None)
    while not crew.lost:
        ended.update((one.key, one.code) for one in crew.wait(0.1))
print(ended)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Crew(str(tmp_path), cwd=tmp_path, env_base=ENV) as crew:
        yield Bench(crew, tmp_path)
    assert carriers(str(tmp_path)) == []


def leave(way: str, name: str, then: str = "") -> tuple[str, ...]:
    """A command that leaves a process behind that writes its id into the file *name*, and does *then*."""
    return python(LEAVER + then, way, name)


def quiet(beat: Path) -> bool:
    """Whether a chain that touches this file is dead."""
    before = beat.stat().st_mtime_ns
    time.sleep(0.3)
    return beat.stat().st_mtime_ns == before


# One command, and its neighbours


@pytest.mark.parametrize("neighbours", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_outlives_its_command(bench: Bench, tmp_path: Path, way: str, neighbours: int) -> None:
    """When its end is told, what it left is gone; and what a neighbour has left lives until the neighbour ends."""
    theirs = [tmp_path / f"neighbour {number}" for number in range(neighbours)]
    for file in theirs:
        bench.start(file.name, *leave("bare daemon", file.name, "time.sleep(60)"))
    bench.until(lambda: len(alive(*theirs)) == neighbours)
    assert bench.run("it", *leave(way, "its")) == (0, "left\n")
    assert alive(tmp_path / "its", *theirs) == [file.name for file in theirs]
    for file in theirs:
        bench.crew.stop(file.name)
    bench.until(lambda: len(bench.ended) == 1 + neighbours)
    assert alive(*theirs) == []


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outlives_a_stop(bench: Bench, tmp_path: Path, way: str) -> None:
    bench.start("neighbour", *sleeper(tmp_path / "neighbour"))
    bench.start("it", *leave(way, "its", "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"))
    bench.until(lambda: bench.printed["it"] and alive(tmp_path / "neighbour"))
    time.sleep(0.1)
    bench.crew.stop("it", grace_s=0.3)
    bench.until(lambda: bench.ended)
    assert (list(bench.ended), bench.ended["it"].code) == (["it"], -9)
    assert alive(tmp_path / "its", tmp_path / "neighbour") == ["neighbour"]


def test_what_belongs_to_nobody_ends_with_the_last_it_may_belong_to(bench: Bench, tmp_path: Path) -> None:
    neighbour, late = tmp_path / "neighbour", tmp_path / "late"
    files = [tmp_path / way for way in ("untagged", "untagged bare", "untagged bare child")] + [neighbour, late]
    bench.start("neighbour", *sleeper(neighbour))
    bench.until(lambda: alive(neighbour))
    assert bench.run("by its variable", *leave("untagged", "untagged")) == (0, "left\n")
    assert bench.run("by nothing", *leave("untagged bare", "untagged bare")) == (0, "left\n")
    assert bench.run("by its session", *leave("untagged bare child", "untagged bare child")) == (0, "left\n")
    assert alive(*files) == ["untagged bare", "neighbour"]
    bench.start("late", *sleeper(late))
    bench.crew.stop("neighbour")
    bench.until(lambda: "neighbour" in bench.ended and alive(late))
    assert alive(*files) == ["late"]


def test_what_belongs_to_nobody_outlives_those_to_whom_it_may_not_belong_alone(bench: Bench, tmp_path: Path) -> None:
    daemon = tmp_path / "daemon"
    bench.start("first", *sleeper(tmp_path / "first"))
    bench.start("its", *leave("untagged bare", "daemon", "time.sleep(60)"))
    bench.until(lambda: alive(tmp_path / "first") and bench.printed["its"])
    bench.crew.stop("first")
    bench.until(lambda: "first" in bench.ended)
    assert alive(daemon) == ["daemon"]
    bench.crew.stop("its")
    bench.until(lambda: "its" in bench.ended)
    assert alive(daemon) == []


def test_a_stop_asks_daemons_too(bench: Bench, tmp_path: Path) -> None:
    polite = "trap 'touch asked; exit' TERM; echo up; while :; do sleep 0.02; done"
    bench.start("it", f"env -i PATH=$PATH setsid sh -c \"{polite}\" & trap '' TERM; while :; do sleep 0.1; done")
    bench.until(lambda: bench.printed["it"])
    bench.crew.stop("it", grace_s=2)
    bench.until(lambda: bench.ended)
    assert (tmp_path / "asked").exists()


def test_a_daemon_that_prints_for_ever_does_not_hold_up_the_end(bench: Bench) -> None:
    code, printed = bench.run("it", "setsid yes & while [ $(ps | wc -l) -lt 1 ]; do :; done; echo mine; sleep 0.1")
    assert code == 0
    assert "mine\n" in printed


def test_what_a_tree_prints_before_its_end_is_complete(bench: Bench) -> None:
    """The leader goes first; what its children had printed by then is not lost."""
    for number in range(6):
        assert bench.run(str(number), "(setsid sh -c 'echo deep; exec sleep 60' &) & sleep 0.1") == (0, "deep\n")


@pytest.mark.parametrize("neighbour", [False, True])
def test_a_chain_of_short_lived_processes_is_caught(bench: Bench, tmp_path: Path, neighbour: bool) -> None:
    beat = tmp_path / "beat"
    beat.touch()
    born = beat.stat().st_mtime_ns
    if neighbour:
        bench.start("neighbour", *sleeper(tmp_path / "pid"))
        bench.until(lambda: alive(tmp_path / "pid"))
    program = " ".join(("exec", sys.executable, "-I", "-S", "-c", '"$0"', "beat"))
    code, _ = bench.run("it", "/bin/sh", "-c", f"for n in 1 2 3; do ({program}) & done; sleep 0.3", CHAIN)
    assert code == 0
    assert quiet(beat)
    assert beat.stat().st_mtime_ns > born
    assert alive(tmp_path / "pid") == ["pid"] * neighbour


# The whole crew


def test_leaving_ends_all(tmp_path: Path) -> None:
    files = [tmp_path / way for way in WAYS]
    beat = tmp_path / "beat"
    beat.touch()
    with Crew(str(tmp_path), cwd=tmp_path, env_base=ENV) as crew:
        bench = Bench(crew, tmp_path)
        bench.start("chain", *python(CHAIN + "\nwhile True: pass", str(beat)))
        for way in WAYS:
            bench.start(way, *leave(way, way, "time.sleep(60)"))
        bench.until(lambda: alive(*files) == list(WAYS))
    assert alive(*files) == []
    assert quiet(beat)
    assert carriers(str(tmp_path)) == []


class Chiefs:
    """The process ids of a holder, its guardian and its foreman."""

    def __init__(self, holder: int) -> None:
        table = living.process_table()
        self.holder = holder
        self.guardian = next(pid for pid, entry in table.items() if entry.parent == holder)
        self.foreman = next(pid for pid, entry in table.items() if entry.parent == self.guardian)


Held = tuple["subprocess.Popen[bytes]", Chiefs, list[Path]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., Held]]:
    """Starts a process that holds a crew whose commands have left something of each kind."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*ways: str) -> Held:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(SOURCE), LEAVER, sys.executable, str(tmp_path), *ways], cwd=tmp_path,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        files = [tmp_path / f"{way}{end}" for way in ways for end in ("", " leader")]
        assert eventually(lambda: len(alive(*files)) == len(files))
        return process, Chiefs(process.pid), files

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stopped", [False, True], ids=["", "while all leaders are stopped"])
@pytest.mark.parametrize("victim", ["holder", "guardian", "foreman"])
def test_nothing_outlives_the_chiefs(hold: Callable[..., Held], tmp_path: Path, victim: str, stopped: bool) -> None:
    process, chiefs, files = hold(*WAYS)
    if stopped:
        living.signal_all([pid_in(file) for file in files], signal.SIGSTOP)
    os.kill(getattr(chiefs, victim), signal.SIGKILL)
    if victim != "holder":
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out == b"{}\n"  # nobody knows how they would have ended
    assert eventually(lambda: alive(*files) == [])
    assert eventually(lambda: not living.process_table().keys() & {chiefs.guardian, chiefs.foreman})
    assert carriers(str(tmp_path)) == []


def test_all_chiefs_killed_at_once_reap_finds_what_they_leave(hold: Callable[..., Held], tmp_path: Path) -> None:
    process, chiefs, files = hold(*WAYS)
    os.kill(chiefs.holder, signal.SIGSTOP)  # so that it does not see what happens to the guardian
    living.signal_all((chiefs.guardian, chiefs.foreman, chiefs.holder), signal.SIGKILL)
    process.wait()
    assert any(name.endswith("leader") for name in alive(*files))
    reap(str(tmp_path))
    left = alive(*files)
    living.signal_all([pid_in(tmp_path / name) for name in left], signal.SIGKILL)
    assert left == ["bare", "bare daemon"]  # orphans without a cookie: only a chief finds them


def test_a_stopped_foreman_and_a_killed_holder(hold: Callable[..., Held]) -> None:
    _, chiefs, files = hold("child", "bare daemon")
    os.kill(chiefs.foreman, signal.SIGSTOP)
    os.kill(chiefs.holder, signal.SIGKILL)
    assert eventually(lambda: alive(*files) == [])


@pytest.mark.parametrize("victim", ["guardian", "foreman"])
def test_a_lost_crew_says_so_and_harms_nobody_else(tmp_path: Path, victim: str) -> None:
    """What its holder has started besides lives on, an other crew and a plain child with children."""
    files = [tmp_path / "mine", tmp_path / "other"]
    before = living.process_table().keys()
    with Crew(f"{tmp_path}-lost", cwd=tmp_path, env_base=ENV) as lost:
        Bench(lost, tmp_path).run("first", "true", "x")
        children = living.children_of(os.getpid())
        table = living.process_table()
        its_guardian = next(pid for pid in table.keys() - before if table[pid].parent == os.getpid())
        its_foreman = next(pid for pid, entry in table.items() if entry.parent == its_guardian)
        with (
            Crew(f"{tmp_path}-other", cwd=tmp_path, env_base=ENV) as kept,
            subprocess.Popen(("sh", "-c", '"$@"; true', "sh", *sleeper(files[0]))) as mine,
        ):
            other, it = Bench(kept, tmp_path), Bench(lost, tmp_path)
            other.start("other", *sleeper(files[1]))
            it.start("it", *leave("bare daemon", "its", "time.sleep(60)"))
            it.until(lambda: it.printed["it"])
            assert eventually(lambda: len(alive(*files)) == 2)
            before_it = lost.lost
            os.kill(its_foreman, signal.SIGSTOP)  # so that it reads nothing any more
            it.start("unread", "touch late")
            os.kill({"guardian": its_guardian, "foreman": its_foreman}[victim], signal.SIGKILL)
            it.until(lambda: lost.lost)
            assert not before_it
            assert alive(tmp_path / "its", *files) == ["mine", "other"]
            it.start("late", "touch late")
            lost.stop("late")
            assert [lost.wait(60) for _ in range(3)] == [()] * 3
            assert (it.ended, (tmp_path / "late").exists()) == ({}, False)
            assert not kept.lost
            os.kill(pid_in(files[0]), signal.SIGKILL)
            assert mine.wait() == 0
            kept.stop("other")
            other.until(lambda: other.ended)
            assert other.ended["other"].code == -15
        assert living.children_of(os.getpid()) == children - {its_guardian}  # no dead ones either


def test_a_foreman_that_does_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiframe.process.crew.PATIENCE_S", 0.5)
    with Crew(f"{tmp_path}-stuck", cwd=tmp_path, env_base=ENV) as crew:
        stuck = Bench(crew, tmp_path)
        stuck.start("it", *python("import os; print(os.getppid(), flush=True); import time; time.sleep(60)"))
        stuck.start("daemon", *leave("bare daemon", "daemon", "time.sleep(60)"))
        stuck.until(lambda: stuck.printed["it"] and stuck.printed["daemon"])
        os.kill(int(stuck.printed["it"]), signal.SIGSTOP)
        crew.stop("it", grace_s=0.1)
        stuck.until(lambda: crew.lost)
        assert (crew.wait(60), stuck.ended, alive(tmp_path / "daemon")) == ((), {}, [])


def test_a_machine_that_stands_still_is_no_stuck_foreman(tmp_path: Path) -> None:
    """Holder, foreman and all stand still past the time in which an end had to be told."""
    script = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path
from aiframe.core.ports import Command
from aiframe.process import Crew, crew
crew.PATIENCE_S = 1
with Crew({str(tmp_path)!r}, cwd=Path.cwd(), env_base={ENV!r}) as them:
    them.start("neighbour", Command(("sleep", "60"), Path.cwd()), print)
    stubborn = "trap '' TERM; touch up; while :; do sleep 0.1; done"
    says = list().append  # a shell whose own command is killed a moment before says so
    them.start("it", Command(("/bin/sh", "-c", stubborn), Path.cwd()), says)
    while not Path("up").exists():
        them.wait(0.1)
    them.stop("it", grace_s=2)
    Path("asked").touch()
    print([(one.key, one.code) for one in them.wait(60)], them.lost)
"""
    with subprocess.Popen(
        (sys.executable, "-c", script), cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    ) as holder:
        assert eventually((tmp_path / "asked").exists)
        everything = {holder.pid} | living.below(living.process_table(), [holder.pid])
        living.signal_all(everything, signal.SIGSTOP)
        time.sleep(6)
        holder.send_signal(signal.SIGCONT)  # the first to go on, so that it finds nothing told
        time.sleep(0.5)
        living.signal_all(everything, signal.SIGCONT)
        assert holder.communicate(timeout=60)[0].decode() == "[('it', -9)] False\n"


def test_a_crew_within_a_command_of_a_crew(bench: Bench, tmp_path: Path) -> None:
    """The inner one loses all its chiefs at once: what it leaves is known by what the outer one has given it."""
    argv = (sys.executable, "-c", HOLDER, str(SOURCE), LEAVER, sys.executable, f"{tmp_path}-inner", *WAYS)
    bench.start("neighbour", *sleeper(tmp_path / "neighbour"))
    bench.start("it", "/bin/sh", "-c", 'echo $$ > holder; exec "$@"', "sh", *argv)
    files = [tmp_path / f"{way}{end}" for way in WAYS for end in ("", " leader")]
    bench.until(lambda: len(alive(*files)) == len(files))
    chiefs = Chiefs(pid_in(tmp_path / "holder"))
    os.kill(chiefs.holder, signal.SIGSTOP)  # so that it does not see what happens to the guardian
    living.signal_all((chiefs.guardian, chiefs.foreman, chiefs.holder), signal.SIGKILL)
    bench.until(lambda: bench.ended)
    assert bench.ended["it"].code == -9
    bare = [tmp_path / way for way in WAYS if way.startswith("bare")]
    assert not set(alive(*files)) - {file.name for file in bare}
    assert alive(tmp_path / "neighbour") == ["neighbour"]
    bench.crew.stop("neighbour")  # the last to whom they could belong
    bench.until(lambda: "neighbour" in bench.ended)
    assert alive(*bare) == []


# All of it, mixed

KINDS = ("quick", "loud", "killed", "sleeps", "stubborn", *WAYS)


@given(
    steps=st.lists(st.tuples(st.sampled_from(KINDS), st.booleans(), st.integers(1, 4)), min_size=1, max_size=14),
)
@settings(max_examples=8)
def test_any_mix(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool, int]]) -> None:
    """Whatever runs side by side, each ends as it would alone, and with it what it left."""
    folder = tmp_path_factory.mktemp("mix")
    lines = {
        "quick": ("echo quick", 0),
        "loud": ("head -c 300000 /dev/zero", 0),
        "killed": ("kill -9 $$", -9),
        "sleeps": ("exec sleep 60", -15),
        "stubborn": ("trap '' TERM; while :; do sleep 0.1; done", -9),
    }
    with Crew(str(folder), cwd=folder, env_base=ENV) as crew:
        bench = Bench(crew, folder)
        wanted: dict[str, int] = {}
        for number, (kind, stop, slots) in enumerate(steps):
            key = f"{number} {kind}"
            line, wanted[key] = lines.get(kind, ("", 0))
            bench.start(key, *((line,) if line else leave(kind, key)))
            if kind in ("sleeps", "stubborn"):
                crew.stop(key, grace_s=0.3 if kind == "stubborn" else 60)
            elif stop:
                bench.until(lambda: key in bench.ended)  # noqa: B023
            bench.until(lambda: len(wanted) - len(bench.ended) < slots)  # noqa: B023
            done = [folder / ended for ended in bench.ended]
            assert alive(*done) == []
        bench.until(lambda: len(bench.ended) == len(wanted))
        loud = [len(bench.printed[key]) for key in wanted if key.endswith("loud")]
        assert set(loud) <= {300_000}
        got = {key: ended.code for key, ended in bench.ended.items()}
        early = {key: -15 for key, code in got.items() if key.endswith("stubborn") and code == -15}  # before its trap
        assert got == {**wanted, **early}
    assert carriers(str(folder)) == []
