"""Child processes: their streams, their limits, how they end, and who is who. Every process here is real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.crews import eventually

from aiframe import living
from aiframe.core.errors import AiframeError
from aiframe.core.ports import Command, Exit
from aiframe.process import (
    CommandTimeout,
    Limits,
    MissingFolder,
    MissingProgram,
    TooMuchOutput,
    boot_id,
    capture,
    cookie,
    host_name,
    is_alive,
    now,
    spawn_runner,
    supervise,
    this_process,
)
from aiframe.process.cookies import carrying_from_psutil
from aiframe.process.identity import start_time_from_psutil

PATH = {"PATH": os.environ["PATH"]}
PATIENT = Limits(timeout_s=60, stall_s=0)
IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
SAYS_TERM = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"


def nothing(*_: object) -> None:
    """A callback that does nothing."""


def run(*argv: str, cwd: Path, limits: Limits = PATIENT, stdin: str = "", **options: Any) -> Exit:
    """`supervise` with all that a test does not care about filled in. Run ids must differ across parallel tests."""
    callbacks: dict[str, Any] = {"on_stdout": nothing, "on_stderr": nothing, "beat": nothing, "fingerprint": nothing}
    settings = {"run_id": str(cwd), "env_base": PATH, **callbacks, **options}
    return supervise(Command(argv, cwd, stdin=stdin), limits=limits, **settings)


def python(code: str) -> tuple[str, ...]:
    """The command line of a small Python program."""
    return sys.executable, "-I", "-S", "-c", code


def dead(pid: int) -> bool:
    """Whether no process, or only a zombie, has this id."""
    return pid not in living.process_table()


# How a command ends


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 0", 0, id="success"),
        pytest.param("exit 7", 7, id="failure"),
        pytest.param("kill -TERM $$", -15, id="SIGTERM"),
        pytest.param("kill -KILL $$", -9, id="SIGKILL"),
        pytest.param("kill -PIPE $$", -13, id="SIGPIPE is not ignored"),
    ],
)
def test_exit_code(tmp_path: Path, script: str, code: int) -> None:
    ended = run("sh", "-c", script, cwd=tmp_path)
    assert (ended.code, ended.reason) == (code, "exit")
    assert 0 < ended.duration_s < 60


@pytest.mark.parametrize("start", [run, lambda *argv, cwd: capture(argv, cwd=cwd)], ids=["supervise", "capture"])
class TestWhatCannotBeStarted:
    def test_missing_program(self, tmp_path: Path, start: Callable[..., object]) -> None:
        with pytest.raises(MissingProgram, match="no-such-agent") as caught:
            start("no-such-agent", cwd=tmp_path)
        assert "install no-such-agent" in caught.value.hint
        assert caught.value.exit_code == 1

    def test_missing_folder(self, tmp_path: Path, start: Callable[..., object]) -> None:
        with pytest.raises(MissingFolder, match="nowhere") as caught:
            start("true", cwd=tmp_path / "nowhere")
        assert caught.value.hint

    @pytest.mark.parametrize(
        "argv",
        [
            pytest.param(("./broken",), id="its interpreter is missing"),
            pytest.param(("true", "x" * 3_000_000), id="arguments too long"),
            pytest.param(("true", "a\0b"), id="a NUL byte in an argument"),
        ],
    )
    def test_program_that_does_not_start(
        self, tmp_path: Path, start: Callable[..., object], argv: tuple[str, ...]
    ) -> None:
        broken = tmp_path / "broken"
        broken.write_text("#!/no/such/interpreter\n")
        broken.chmod(0o755)
        with pytest.raises(AiframeError, match="could not be started") as caught:
            start(*argv, cwd=tmp_path)
        assert "run it by hand" in caught.value.hint


# Streams


def test_much_output_comes_in_small_pieces(tmp_path: Path) -> None:
    sizes: list[int] = []
    run("sh", "-c", "yes 0123456789abcdef | head -c 20000000", cwd=tmp_path, on_stdout=lambda b: sizes.append(len(b)))
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 64 * 1024


def test_a_line_of_thirty_megabytes(tmp_path: Path) -> None:
    got = bytearray()
    run("sh", "-c", r"head -c 30000000 /dev/zero | tr '\0' x; echo", cwd=tmp_path, on_stdout=got.extend)
    assert got == b"x" * 30_000_000 + b"\n"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    out, err = bytearray(), bytearray()
    script = r"printf 'a\000b\377'; printf 'c\376\033[1m' >&2"
    ended = run("sh", "-c", script, cwd=tmp_path, on_stdout=out.extend, on_stderr=err.extend)
    assert (bytes(out), bytes(err)) == (b"a\0b\xff", b"c\xfe\x1b[1m")
    assert ended.stderr == "c\ufffd\x1b[1m"


def test_the_last_part_of_standard_error_is_kept(tmp_path: Path) -> None:
    ended = run("sh", "-c", "yes | head -c 100000 >&2; echo the end >&2", cwd=tmp_path)
    assert len(ended.stderr) == 8192
    assert ended.stderr.endswith("y\nthe end\n")


@pytest.mark.parametrize("text", [pytest.param("", id="closed"), pytest.param("é" * 2_000_000, id="4 MB")])
def test_standard_input_ends(tmp_path: Path, text: str) -> None:
    got = bytearray()
    ended = run("cat", cwd=tmp_path, stdin=text, on_stdout=got.extend, limits=Limits(20, 0))
    assert (ended.code, ended.reason) == (0, "exit")
    assert got.decode() == text


@pytest.mark.parametrize("script", ["exec 0<&-; sleep 0.2", "sleep 0.2"], ids=["closes it", "leaves it"])
def test_a_command_that_does_not_read_its_input(tmp_path: Path, script: str) -> None:
    ended = run("sh", "-c", script, cwd=tmp_path, stdin="x" * 5_000_000, limits=Limits(20, 0))
    assert (ended.code, ended.reason) == (0, "exit")


def test_input_that_is_read_in_part_does_not_hold_up_the_limits(tmp_path: Path) -> None:
    script = "head -c 5000 > /dev/null; sleep 20"
    ended = run("sh", "-c", script, cwd=tmp_path, stdin="x" * 5_000_000, limits=Limits(0.5, 0))
    assert ended.reason == "timeout"
    assert ended.duration_s < 15


FILLS_ITS_PIPE = "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, bytes(1 << 20))"


@pytest.mark.skipif(not living.LINUX, reason="only Linux has pipes of another size")
def test_what_a_command_printed_last_is_not_lost(tmp_path: Path) -> None:
    sizes: list[int] = []

    def slowly(chunk: bytes) -> None:
        sizes.append(len(chunk))
        time.sleep(0.05)

    run(*python(FILLS_ITS_PIPE), cwd=tmp_path, on_stdout=slowly)
    assert sum(sizes) == 1 << 20
    assert len(capture(python(FILLS_ITS_PIPE), cwd=tmp_path).out) == 1 << 20


def test_a_command_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    ended = run("sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 4", cwd=tmp_path)
    assert ended.code == 4


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    monkeypatch.setenv(cookie("outer"), "1")
    got = bytearray()
    command = Command(("env",), tmp_path, env={"B": "command", "C": "command"})
    callbacks: dict[str, Any] = {"on_stderr": nothing, "beat": nothing, "fingerprint": nothing}
    supervise(
        command, run_id="in-ner", limits=PATIENT, on_stdout=got.extend, env_base={**PATH, "A": "base", "B": "base"},
        **callbacks,
    )  # fmt: skip
    assert dict(line.split("=", 1) for line in got.decode().splitlines()) == {
        **PATH, "A": "base", "B": "command", "C": "command", "AIFRAME_RUN_outer": "1", "AIFRAME_RUN_in_ner": "1",
    }  # fmt: skip


def test_no_descriptor_of_ours_reaches_the_command(tmp_path: Path) -> None:
    got = bytearray()
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    run("ls", "/proc/self/fd", cwd=tmp_path, on_stdout=got.extend)
    os.close(reader)
    os.close(writer)
    assert got.split() == [b"0", b"1", b"2", b"3"]  # 3 is the folder that ls reads


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    run("cat", cwd=tmp_path, stdin="x")
    capture(("cat",), cwd=tmp_path, stdin=b"x")
    assert set(os.listdir("/proc/self/fd")) == before


# Limits


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(SAYS_TERM, 3, id="obeys SIGTERM"),
        pytest.param(IGNORES_TERM, -9, id="ignores SIGTERM"),
    ],
)
@pytest.mark.parametrize("reason", ["timeout", "stalled", "stopped", "lingered"])
def test_ladder(tmp_path: Path, reason: str, script: str, code: int) -> None:
    got = bytearray()
    limits = Limits(60, 0, term_grace_s=0.3, linger_s=0.3, poll_s=0.05)
    endings: dict[str, dict[str, Any]] = {
        "timeout": {"limits": replace(limits, timeout_s=0.5)},
        "stalled": {"limits": replace(limits, stall_s=0.5)},
        "stopped": {"limits": limits, "should_stop": lambda: b"ready" in got},
        "lingered": {"limits": limits, "complete": lambda: b"ready" in got},
    }
    options = endings[reason]
    ended = run("sh", "-c", script, cwd=tmp_path, on_stdout=got.extend, **options)
    assert (ended.code, ended.reason) == (code, reason)
    assert bytes(got) == (b"ready\nbye\n" if code == 3 else b"ready\n")


def test_a_result_and_a_quick_end_is_no_lingering(tmp_path: Path) -> None:
    ended = run("sh", "-c", "echo result; sleep 0.3", cwd=tmp_path, complete=lambda: True, limits=Limits(0.1, 0.1))
    assert (ended.code, ended.reason) == (0, "exit")


def test_work_after_a_result_counts_again(tmp_path: Path) -> None:
    """A CLI whose task in the background ends after its result takes another turn."""
    got = bytearray()
    script = "echo result; echo more; sleep 1.2; echo result; exec sleep 60"
    ended = run("sh", "-c", script, cwd=tmp_path, on_stdout=got.extend, limits=Limits(60, 0, linger_s=0.4, poll_s=0.05),
                complete=lambda: got.endswith(b"result\n"))  # fmt: skip
    assert (ended.reason, bytes(got)) == ("lingered", b"result\nmore\nresult\n")


def test_output_is_no_stall(tmp_path: Path) -> None:
    ended = run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo; sleep 0.2; done", cwd=tmp_path,
                limits=Limits(60, stall_s=0.8, poll_s=0.05))  # fmt: skip
    assert ended.reason == "exit"


def test_a_workspace_that_changes_is_no_stall(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo $i > file; sleep 0.2; done"
    looks: list[str] = []

    def fingerprint() -> str:
        looks.append((tmp_path / "file").read_text())
        return looks[-1]

    ended = run("sh", "-c", script, cwd=tmp_path, fingerprint=fingerprint, limits=Limits(60, stall_s=0.8, poll_s=0.05))
    assert ended.reason == "exit"
    assert 0 < len(looks) < 20


def test_the_workspace_is_not_looked_at_without_silence(tmp_path: Path) -> None:
    looks: list[int] = []
    run("true", cwd=tmp_path, fingerprint=lambda: looks.append(1), limits=Limits(60, stall_s=60))
    assert looks == []


def test_beats(tmp_path: Path) -> None:
    beats: list[float] = []
    limits = Limits(60, 0, beat_every_s=0.1, poll_s=0.02)
    run("sleep", "0.6", cwd=tmp_path, beat=lambda: beats.append(time.monotonic()), limits=limits)
    assert 3 <= len(beats) <= 8


def full_disk(*_: object) -> bool:
    """A callback that fails."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("callback", ["on_stdout", "on_stderr", "beat", "fingerprint", "complete", "should_stop"])
def test_a_callback_that_fails_ends_the_tree_first(tmp_path: Path, callback: str) -> None:
    script = "echo $$ > pid; echo out; echo err >&2; sleep 60 & sleep 60"
    limits = Limits(60, stall_s=0.4, poll_s=0.05)
    failing: dict[str, Any] = {callback: full_disk}
    with pytest.raises(OSError, match="No space left"):
        run("sh", "-c", script, cwd=tmp_path, limits=limits, **failing)
    assert living.carrying(cookie(str(tmp_path))) == set()


# Short commands


def test_capture(tmp_path: Path) -> None:
    done = capture(("sh", "-c", "pwd; cat >&2; exit 5"), cwd=tmp_path, stdin=b"\xffin", env=PATH)
    assert (done.code, done.out, done.err) == (5, f"{tmp_path}\n".encode(), b"\xffin")


def test_capture_is_over_when_the_command_is(tmp_path: Path) -> None:
    done = capture(("sh", "-c", "echo mine; sleep 30 & echo $! > pid"), cwd=tmp_path, timeout_s=20)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert done.out == b"mine\n"


def test_capture_of_a_command_that_closes_its_output(tmp_path: Path) -> None:
    assert capture(("sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4"), cwd=tmp_path).code == 4


def test_capture_times_out_with_all_below(tmp_path: Path) -> None:
    script = "trap '' TERM; setsid sh -c 'echo $$ > far; sleep 30' & (sleep 30 & echo $! > near); sleep 30"
    started = time.monotonic()
    with pytest.raises(CommandTimeout, match="within 1 s") as caught:
        capture(("sh", "-c", script), cwd=tmp_path, timeout_s=1)
    assert time.monotonic() - started < 20
    assert caught.value.hint
    assert [dead(int((tmp_path / name).read_text())) for name in ("far", "near")] == [True, True]


@pytest.mark.parametrize("script", ["printf 0123456789", "yes"], ids=["at the end", "without end"])
def test_capture_refuses_too_much_output(tmp_path: Path, script: str) -> None:
    with pytest.raises(TooMuchOutput, match="more than 9 bytes"):
        capture(("sh", "-c", script), cwd=tmp_path, limit_bytes=9)


# Runners


def test_spawn_runner(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    reader, writer = os.pipe()
    stranger = os.dup(reader)
    os.set_inheritable(stranger, True)
    code = f"""
import os, sys
os.write({writer}, b"kept")
print(*(fd for fd in range(3, 99) if os.path.exists(f"/proc/self/fd/{{fd}}")), repr(sys.stdin.read()), flush=True)
print(os.getpid(), os.getsid(0), file=sys.stderr)"""
    pid = spawn_runner(python(code), cwd=tmp_path, env=PATH, keep_fds=[writer], log=log)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "kept"  # and then its end: the runner held the only copy
    os.close(stranger)
    assert eventually(lambda: dead(pid))
    assert log.read_text() == f"before\n{writer} ''\n{pid} {pid}\n"


def test_a_spawned_runner_leaves_no_zombie(tmp_path: Path) -> None:
    pid = spawn_runner(("sleep", "0.1"), cwd=tmp_path, env=PATH, keep_fds=[], log=tmp_path / "log")
    fields = living.stat_fields(pid)
    assert fields is not None
    runner = replace(this_process(), pid=pid, started=int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    assert is_alive(runner)
    assert eventually(lambda: not is_alive(runner) and not Path(f"/proc/{pid}").exists())


# Who is who


def test_now() -> None:
    moment = now()
    assert (moment.boot, moment.host) == (boot_id(), host_name())
    assert abs(moment.mono - time.monotonic()) < 60
    assert abs(moment.wall - time.time()) < 60
    assert moment.boot
    assert moment.host


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        pytest.param({}, True, id="itself"),
        pytest.param({"started": 1.0}, False, id="its id was used again"),
        pytest.param({"boot": "another"}, False, id="before the machine was started again"),
        pytest.param({"host": "another"}, False, id="on another host"),
        pytest.param({"pid": 2**22 + 1}, False, id="no such process"),
    ],
)
def test_is_alive(change: dict[str, Any], alive: bool) -> None:
    assert is_alive(replace(this_process(), **change)) is alive


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(("sleep", "60")) as child:
        fields = living.stat_fields(child.pid)
        assert fields is not None
        runner = replace(this_process(), pid=child.pid, started=int(fields[19]) / os.sysconf("SC_CLK_TCK"))
        assert is_alive(runner)
        child.kill()
        assert eventually(lambda: not is_alive(runner))
        assert Path(f"/proc/{child.pid}").exists()


# Where there is no /proc


def test_the_process_table_of_ps_agrees() -> None:
    with subprocess.Popen(("sleep", "60"), start_new_session=True) as child, subprocess.Popen(("true",)) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        tables = living.process_table(), living.table_from_ps()
        rows = [(table[child.pid].parent, table[child.pid].group) for table in tables]
        child.kill()
        assert rows == [(os.getpid(), child.pid)] * 2
        assert [zombie.pid in table for table in tables] == [False, False]


@pytest.mark.skipif(not living.LINUX, reason="the kernel lists children on Linux only")
def test_the_children_in_a_table_are_those_that_the_kernel_lists() -> None:
    with subprocess.Popen(("sleep", "60")) as child, subprocess.Popen(("true",)) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        me, table = os.getpid(), living.process_table()
        found = living.children_of(me), living.children_in(table, me)
        child.kill()
        assert {child.pid, zombie.pid} <= found[0]
        assert child.pid in found[1]
        assert found[0] - found[1] >= {zombie.pid}
        assert found[1] <= found[0]


def test_psutil_agrees() -> None:
    name = cookie(f"psutil-{os.getpid()}")
    with subprocess.Popen(("sleep", "60"), env={**os.environ, name: "1"}) as child:
        assert carrying_from_psutil(name) == living.carrying(name) == {child.pid}
        assert start_time_from_psutil(child.pid) is not None
        child.kill()
        assert eventually(lambda: start_time_from_psutil(child.pid) is None)
