"""Many commands below one guardian: what each gets, prints and ends with. All of them are real."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crews import Bench, eventually, python

from aiframe import living
from aiframe.core.errors import AiframeError
from aiframe.core.ports import Command
from aiframe.process import Crew, MissingFolder, MissingProgram, carriers, cookie

ENV = {"PATH": os.environ["PATH"], "BASE": "base", "BOTH": "base"}
needs_proc = pytest.mark.skipif(not living.HAS_PROC, reason="looks into /proc")

# Prints a million bytes that depend on its argument, in lines, in pieces of all sizes, to both streams in turn.
PRINTER = """
import os, sys
text = "".join(f"{sys.argv[1]} {n}\\n" for n in range(200_000)).encode()[:1_000_000]
at, size = 0, 1
while at < len(text):
    at += os.write(1 + size % 2, text[at : at + size])
    size = size * 3 % 100_003
"""


def printed_by(key: str) -> bytes:
    """What PRINTER prints."""
    return "".join(f"{key} {n}\n" for n in range(200_000)).encode()[:1_000_000]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Crew(str(tmp_path), cwd=tmp_path, env_base=ENV) as crew:
        yield Bench(crew, tmp_path)
    assert carriers(str(tmp_path)) == []


# How a command ends, and what it gets


@pytest.mark.parametrize(
    ("line", "code", "printed"),
    [
        pytest.param("echo hello", 0, "hello\n", id="success"),
        pytest.param("echo out; echo err >&2; echo out; exit 7", 7, "out\nerr\nout\n", id="failure, both streams"),
        pytest.param("kill -TERM $$", -15, "", id="SIGTERM"),
        pytest.param("kill -KILL $$", -9, "", id="SIGKILL"),
        pytest.param("kill -PIPE $$", -13, "", id="SIGPIPE is not ignored"),
        pytest.param("kill -INT $$", -2, "", id="SIGINT is not ignored"),
        pytest.param("no-such-program 2>/dev/null", 127, "", id="the shell does not find it"),
        pytest.param("cat; echo end", 0, "end\n", id="nothing on standard input"),
        pytest.param("(sleep 0.2; echo late) & echo early; wait", 0, "early\nlate\n", id="a child in the background"),
        pytest.param("echo $BASE, $BOTH, $OWN", 0, "base, own, own\n", id="variables"),
        pytest.param("trap '' TERM; kill -TERM 0; echo alone", 0, "alone\n", id="a process group of its own"),
    ],
)
def test_a_command(bench: Bench, line: str, code: int, printed: str) -> None:
    assert bench.run("it", line, env={"OWN": "own", "BOTH": "own"}) == (code, printed)
    assert 0 < bench.ended["it"].seconds < 60


def test_it_works_in_its_folder_and_carries_the_cookies(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "place").mkdir()
    monkeypatch.setenv(cookie("outer"), "1")
    with Crew(f"{tmp_path}-inner", cwd=tmp_path, env_base=ENV) as crew:
        code, printed = Bench(crew, tmp_path).run("it", "pwd -P; env", cwd=tmp_path / "place")
    folder, *variables = printed.splitlines()
    assert (code, Path(folder)) == (0, (tmp_path / "place").resolve())
    assert {f"{cookie('outer')}=1", f"{cookie(f'{tmp_path}-inner')}=1"} <= set(variables)


@needs_proc
def test_it_gets_three_descriptors_and_no_signal_is_blocked_or_ignored_besides(bench: Bench) -> None:
    look = "import os; print(sorted(os.listdir('/proc/self/fd')), os.readlink('/proc/self/fd/0')); "
    look += "print(*[line for line in open('/proc/%d/status' % os.getppid()) if line[:6] in ('SigBlk', 'SigIgn')])"
    _, printed = bench.run("it", "/bin/sh", "-c", '"$@"; true', "sh", *python(look))
    descriptors, *signals = printed.splitlines()
    assert descriptors == "['0', '1', '2', '3'] /dev/null"  # the last is that of the listing
    # Who started the tests may ignore some: nohup does, and so do shells for what they run in the background.
    started_here = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    inherited = {
        line[:6]: int(line.split()[1], 16) for line in started_here.splitlines() if line[:6] in ("SigBlk", "SigIgn")
    }
    its = {line.split()[0][:6]: int(line.split()[1], 16) for line in signals if line.strip()}
    of_glibc = 1 << (32 - 1) | 1 << (33 - 1)  # it keeps two for its threads, and posix_spawn leaves them ignored
    assert {name: mask & ~(inherited[name] | of_glibc) for name, mask in its.items()} == {"SigBlk": 0, "SigIgn": 0}


@pytest.mark.parametrize("locale", ["", "C", "de_DE.ISO-8859-1"])
def test_the_locale_is_what_it_is_meant_to_be(tmp_path: Path, locale: str) -> None:
    env = {**ENV, "LC_CTYPE": locale} if locale else ENV
    with Crew(str(tmp_path), cwd=tmp_path, env_base=env) as crew:
        assert Bench(crew, tmp_path).run("it", 'echo "${LC_CTYPE-unset} $0"', env={}) == (
            0,
            f"{locale or 'unset'} /bin/sh\n",
        )
        assert Bench(crew, tmp_path).run("two", "/bin/sh", "-c", 'echo "$0"', "ä € 漢") == (0, "ä € 漢\n")


# What cannot be started


@pytest.mark.parametrize(
    ("command", "error", "match"),
    [
        pytest.param(Command(("no-such-agent",), Path("/")), MissingProgram, "no-such-agent", id="no program"),
        pytest.param(Command(("./true",), Path("/")), MissingProgram, "true", id="no program in that folder"),
        pytest.param(Command(("true",), Path("/nowhere")), MissingFolder, "nowhere", id="no folder"),
        pytest.param(Command(("true",), Path("/"), stdin="text"), ValueError, "standard input", id="standard input"),
        pytest.param(Command(("true",), Path("/"), {"PATH": "/nowhere"}), MissingProgram, "true", id="another PATH"),
    ],
)
def test_what_is_refused(bench: Bench, command: Command, error: type[Exception], match: str) -> None:
    assert bench.run("before", "true", "x") == (0, "")  # with what it knows of PATH
    with pytest.raises(error, match=match) as caught:
        bench.crew.start("it", command, bytearray().extend)
    assert not isinstance(caught.value, AiframeError) or caught.value.hint
    assert bench.run("it", "echo goes on") == (0, "goes on\n")


def test_a_key_that_runs_cannot_be_started_again(bench: Bench) -> None:
    bench.start("it", "sleep 60")
    with pytest.raises(ValueError, match="'it' runs already"):
        bench.start("it", "true")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        pytest.param(("./broken", "x"), "No such file or directory", id="its interpreter is missing"),
        pytest.param(("true", "x" * 3_000_000), "Argument list too long", id="arguments too long"),
        pytest.param(("true", "a\0b"), "embedded null byte", id="a NUL byte in an argument"),
    ],
)
def test_a_program_that_does_not_start_ends_with_127(bench: Bench, argv: tuple[str, ...], reason: str) -> None:
    broken = bench.folder / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    code, printed = bench.run("it", *argv)
    assert code == 127
    assert printed.startswith("aiframe: ")
    assert printed.endswith(f"{argv[0].lstrip('.')}: {reason}\n")
    assert bench.run("next", "echo goes on") == (0, "goes on\n")


@pytest.mark.parametrize(("env_base", "error"), [({"PATH": "/nowhere"}, None), (ENV, MissingFolder)])
def test_a_crew_needs_a_folder_and_no_path(
    tmp_path: Path, env_base: dict[str, str], error: type[Exception] | None
) -> None:
    if error is None:
        with Crew(str(tmp_path), cwd=tmp_path, env_base=env_base) as crew:
            assert Bench(crew, tmp_path).run("it", "echo $PATH") == (0, "/nowhere\n")
    else:
        with pytest.raises(error):
            Crew(str(tmp_path), cwd=tmp_path / "nowhere", env_base=env_base)


# Output


def test_three_print_a_million_bytes_each_at_once(bench: Bench) -> None:
    for key in "abc":
        bench.start(key, *python(PRINTER, key))
    bench.until(lambda: len(bench.ended) == 3)
    for key in "abc":
        assert bench.ended[key].code == 0
        assert bytes(bench.printed[key]) == printed_by(key)


def test_output_comes_while_the_command_runs_in_small_pieces(bench: Bench) -> None:
    pieces: list[bytes] = []
    command = Command(("/bin/sh", "-c", "head -c 1000000 /dev/zero; echo; exec sleep 60"), bench.folder)
    bench.crew.start("it", command, pieces.append)
    bench.until(lambda: pieces and pieces[-1].endswith(b"\n"))
    assert bench.ended == {}
    assert max(map(len, pieces)) <= 64 * 1024
    assert sum(map(len, pieces)) == 1_000_001


@pytest.mark.skipif(not living.LINUX, reason="pipes can be made longer on Linux only")
def test_what_is_in_a_long_pipe_at_the_end_is_not_lost(bench: Bench) -> None:
    write = "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'x' * (1 << 20)); os.mkdir('done')"
    bench.start("it", *python(write))
    assert eventually((bench.folder / "done").exists)
    time.sleep(0.5)  # now its end, too, has been told
    bench.until(lambda: bench.ended)
    assert len(bench.printed["it"]) == 1 << 20


def test_a_command_waits_for_whom_takes_its_output(bench: Bench) -> None:
    bench.start("it", "head -c 2000000 /dev/zero; touch through")
    assert not eventually((bench.folder / "through").exists, within_s=0.5)
    bench.until(lambda: bench.ended)
    assert len(bench.printed["it"]) == 2_000_000
    assert (bench.folder / "through").exists()


def test_whom_its_output_makes_fail_ends_the_crew(tmp_path: Path) -> None:
    def refuse(_: bytes) -> None:
        raise InterruptedError("enough")

    def work() -> None:
        with Crew(str(tmp_path), cwd=tmp_path, env_base=ENV) as crew:
            crew.start("it", Command(("yes",), tmp_path), refuse)
            crew.wait(60)

    with pytest.raises(InterruptedError, match="enough"):
        work()
    assert carriers(str(tmp_path)) == []


# Stopping

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"
POLITE = "exec 2>/dev/null; trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"

APART = f"trap : TERM; setsid sh -c '{POLITE.replace(chr(39), chr(34))}' & wait $!; wait $!; exit 5"


@pytest.mark.parametrize(
    ("line", "grace_s", "code", "printed"),
    [
        pytest.param("echo up; exec sleep 60", 60, -15, "up\n", id="it obeys"),
        pytest.param(POLITE, 60, 3, "up\nbye\n", id="it cleans up"),
        pytest.param(STUBBORN, 0.2, -9, "up\n", id="it does not obey"),
        pytest.param("echo up; kill -STOP $$", 60, -15, "up\n", id="it has stopped itself"),
        pytest.param(f"({STUBBORN}) & wait", 60, -15, "up\n", id="its child does not obey"),
        pytest.param(APART, 60, 5, "up\nbye\n", id="a session of its own"),
    ],
)
def test_stop(bench: Bench, line: str, grace_s: float, code: int, printed: str) -> None:
    bench.start("neighbour", "sleep 60")
    bench.start("it", line)
    bench.until(lambda: bench.printed["it"])
    bench.crew.stop("it", grace_s=grace_s)
    bench.until(lambda: bench.ended)
    assert (list(bench.ended), bench.ended["it"].code) == (["it"], code)
    assert bench.printed["it"].decode().startswith(printed)


def test_a_second_stop_may_be_shorter_and_not_longer(bench: Bench) -> None:
    for key, graces in {"shorter": (60, 0.1), "longer": (0.1, 60)}.items():
        bench.start(key, STUBBORN)
        bench.until(lambda: bench.printed[key])  # noqa: B023
        for grace_s in graces:
            bench.crew.stop(key, grace_s=grace_s)
    bench.until(lambda: len(bench.ended) == 2)
    assert {ended.code for ended in bench.ended.values()} == {-9}
    assert not bench.crew.lost


def test_nothing_happens_to_those_who_do_not_run(bench: Bench) -> None:
    bench.run("it", "true", "x")
    bench.crew.stop("it")
    bench.crew.stop("nobody")
    assert bench.crew.wait(0) == ()
    assert bench.run("it two", "echo goes on") == (0, "goes on\n")
    assert not bench.crew.lost


# Many


def test_many_may_be_started_at_once(bench: Bench) -> None:
    for number in range(40):
        bench.start(str(number), "/bin/sh", "-c", "sleep 0.1; echo $#; exit $#", *["word"] * (number + 1))
    bench.until(lambda: len(bench.ended) == 40)
    for number in range(40):
        assert (bench.ended[str(number)].code, int(bench.printed[str(number)])) == (number, number)


def test_three_hundred_commands_leave_nothing_open(bench: Bench) -> None:
    def open_here() -> int:
        return len(os.listdir("/dev/fd"))

    # It lets go of a pipe as soon as the command has it, and the command is quick.
    foreman_has = "sleep 0.2; ls /proc/$PPID/fd | wc -l" if living.HAS_PROC else "echo 0"
    before = open_here(), bench.run("first", foreman_has)
    for number in range(300):
        bench.start(str(number), f"echo {number}; exit {number % 200}")
        bench.until(lambda: len(bench.printed) - len(bench.ended) < 4)
    bench.until(lambda: len(bench.printed) == len(bench.ended))
    assert (open_here(), bench.run("last", foreman_has)) == before
    for number in range(300):
        assert (bench.ended[str(number)].code, int(bench.printed[str(number)])) == (number % 200, number)
