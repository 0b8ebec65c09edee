"""F22: a save that is killed, or refused by the disk, at every single system call, by strace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import require

from aiframe.core.model import Moment, Project, Role, Run, Runner, State
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore

ROOT = str(Path(__file__).resolve().parents[2])

# Everything a save may ask of the system about files; the counts come from watching one that is left in peace.
CALLS = "open,openat,read,pread64,write,fsync,fdatasync,rename,renameat,renameat2,unlink,link,mkdir,chmod,fchmod,close"
LOOKS = "stat,lstat,fstat,newfstatat,statx,utimensat,lseek"

# Forks a child for each save, so that all imports are done; the child waits until strace has it.
DRIVER = f"""
import os, signal, sys
sys.path.insert(0, {ROOT!r})
from pathlib import Path
from aiframe.core.errors import AiframeError
from aiframe.core.model import Moment, Role, Run, Runner, State
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore

def save(root):
    store = ProjectStore(Layout(Path(root)))
    project = store.load().project
    run = Run("new", Role.DEV, Moment(9.0), 60, Runner(1, 2.0))
    os.write(1, b"%d\\n" % os.getpid())
    signal.sigwait({{signal.SIGUSR1}})
    try:
        store.save(project.evolve(state=State.RUNNING, run=run), Moment(9.0), expect_generation=project.generation)
    except AiframeError as error:
        os.write(1, ("refused: " + error.hint.splitlines()[0]).encode() + b"\\n")
    except BaseException as error:
        os.write(1, ("raised: " + repr(error)).encode() + b"\\n")
    else:
        os.write(1, b"saved\\n")
    os._exit(0)

try:
    import ctypes
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # strace may attach, where that needs leave
except (OSError, AttributeError):
    pass
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
while True:
    root = b""
    while not root.endswith(b"\\n"):
        root += sys.stdin.buffer.raw.read(1) or sys.exit()
    child = os.fork()
    if child == 0:
        save(root.decode().strip())
    status = os.waitpid(child, 0)[1]
    os.write(1, b"end %d\\n" % status)
"""


class Saver:
    """Runs saves one after the other, each under strace."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def save(self, root: Path, *options: str) -> str:
        """``saved``, ``refused: CURE``, ``raised: ...`` or ``killed``."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{root}\n")
        self.process.stdin.flush()
        pid = self._line()
        argv = ("strace", "-f", "-p", pid, "-o", str(self.log), *options)
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            os.kill(int(pid), signal.SIGUSR1)
            said = self._line()
            if not said.startswith("end"):
                assert self._line().startswith("end 0")
            tracer.wait()
        return "killed" if said.startswith("end") else said


@pytest.fixture(scope="module")
def saver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saver]:
    require("strace")
    argv = (sys.executable, "-u", "-c", DRIVER)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Saver(process, tmp_path_factory.mktemp("strace") / "log")
        assert process.stdin is not None
        process.stdin.close()


def old_project(root: Path) -> Project:
    root.mkdir()
    store = ProjectStore(Layout(root))
    project = store.save(Project(state=State.DEV_READY), Moment(1.0), expect_generation=0)
    return store.save(project, Moment(2.0), expect_generation=1)


def system_calls(saver: Saver, root: Path, names: str) -> Counter[str]:
    """How often a save makes each of the calls *names*, from the word go to its answer."""
    old_project(root)
    assert saver.save(root) == "saved"
    log = saver.log.read_text()
    before_answer = log[: log.rindex("\n", 0, log.index('"saved'))]
    made = re.findall(r"^\d+ +(\w+)\(", before_answer, re.MULTILINE)
    return Counter(call for call in made if call in names.split(","))


def test_a_save_syncs_before_and_after_each_rename(saver: Saver, tmp_path: Path) -> None:
    old_project(tmp_path / "p")
    saver.save(tmp_path / "p", "-y")
    made = re.findall(r"^\d+ +(rename\w*|fsync)\((.*)", saver.log.read_text(), re.MULTILINE)
    steps = [f"{call} {re.sub(r'[.]([0-9]+)[.][0-9a-f]+[.]tmp', '', text)}" for call, text in made]
    control = next(n for n, step in enumerate(steps) if step.startswith("rename") and '/control.json"' in step)
    state = next(n for n, step in enumerate(steps) if step.startswith("rename") and '/STATE.json"' in step)
    assert control < state
    for place in (control, state):
        assert steps[place - 1].startswith("fsync")
        assert steps[place + 1].startswith("fsync")


def check_old_or_new(root: Path, case: str) -> None:
    loaded = ProjectStore(Layout(root)).load()
    assert loaded.project.generation in (2, 3), case
    new = loaded.project.generation == 3
    run = Run("new", Role.DEV, Moment(9.0), 60, Runner(1, 2.0))
    wanted = Project(state=State.RUNNING, run=run) if new else Project(state=State.DEV_READY)
    assert loaded.project == wanted.evolve(generation=loaded.project.generation), case
    assert not loaded.edits, case
    assert loaded.state_file is not None, case
    assert loaded.state_file.state is (State.DEV_READY if loaded.stale else wanted.state), case
    store = ProjectStore(Layout(root))
    store.load()
    store.save(loaded.project, Moment(10.0), expect_generation=loaded.project.generation)  # and it goes on
    assert not list(Layout(root).control_dir.glob("quarantine/*")), case


@pytest.mark.parametrize(
    ("fault", "names", "cure"),
    [
        pytest.param("signal=KILL", CALLS, "", id="killed"),
        pytest.param("error=ENOSPC", CALLS, "the disk is full: free some space", id="disk full"),
        pytest.param("error=EIO", f"{CALLS},{LOOKS}", "the disk reports an error: check it", id="disk broken"),
        pytest.param("error=EROFS", CALLS, "the file system is read-only: mount it writable", id="read-only"),
    ],
)
def test_f22_old_or_new_after_a_fault_at_every_system_call(
    saver: Saver, tmp_path: Path, fault: str, names: str, cure: str
) -> None:
    calls = system_calls(saver, tmp_path / "counted", names)
    assert calls["fsync"] >= 4
    endings: Counter[str] = Counter()
    for call, count in sorted(calls.items()):
        for when in range(1, count + 1):
            case = f"{call} number {when}: {fault}"
            root = tmp_path / f"{call}-{when}"
            old_project(root)
            said = saver.save(root, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}")
            assert said in ("saved", "killed") or said.startswith(f"refused: {cure}"), (case, said)
            assert (said == "killed") <= (not cure), (case, said)
            endings[said.partition(":")[0]] += 1
            check_old_or_new(root, case)
    assert endings["refused" if cure else "killed"] >= 8, endings
