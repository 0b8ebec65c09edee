"""`aiframe` as a copy of an interpreter that has loaded all of it: what starting and loading cost is paid once.

Each command is a process all the same, with arguments, environment, folder and streams of its own, for those who look
into /proc, too; only that it is forked where another is started anew, which takes ten times as long. That all works
from a cold start is shown by tests that start it so (`Bench.argv`), and by tests/cli/test_cli_cold.py.

The scripted agents of such a command are copies as well: the process that its guardian has forked for one goes on as
what it is to become. tests/agents/test_agent_scripted.py starts them anew.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import aiframe
from aiframe.agents.scripted import LAUNCH
from aiframe.process.identity import forget_spawned

_FIXED = ("LANG", "LC_", "LD_", "MALLOC_", "PYTHON", "TZ")
"""What an interpreter reads from its environment when it starts: with other values of it there is no copying."""

_ROOM = 8192
"""Bytes for the arguments of a copy, and for its environment: they take the place of those of the interpreter."""

_PLACES = {"arguments": 45, "environment": 47}
"""Where among the fields of /proc/self/stat that follow the name their places in memory are told."""

_START_S = 0.1
"""About as long as an interpreter takes to start: what a step writes as it begins is there before its agent is."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def can_copy() -> bool:
    """Whether this is a system whose ways are known (Linux)."""
    return sys.platform == "linux"


class Copier:
    """The interpreter that is copied; of a worker there is one."""

    def __init__(self) -> None:
        self._fixed = _fixed(os.environ)
        self._turn = threading.Lock()
        self._line, there = socket.socketpair()
        tests, package = str(Path(__file__).parents[1]), str(Path(aiframe.__file__).parents[1])
        code = (
            f"import sys; sys.path[:0] = {[tests, package]}; from support.copies import serve; serve({there.fileno()})"
        )
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, "-" * _ROOM], env={**os.environ, "AIFRAME_TEST_ROOM": "-" * _ROOM},
                pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/",
            )  # fmt: skip

    def fits(self, words: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether ``aiframe WORDS`` with the environment *env* would be the same from a copy."""
        return _fixed(env) == self._fixed and max(len(repr(words)), len(repr(env))) < _ROOM

    def run(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float, network_of: int = 0
    ) -> tuple[int, bytes, bytes]:
        """``aiframe WORDS`` to its end: exit code (minus the signal that ended it), standard output, standard error.

        It is over when nobody can write to these any more. With *network_of* it is in the network of that process.
        Raises TimeoutError after *timeout_s* seconds.
        """
        (out, its_out), (err, its_err) = os.pipe(), os.pipe()
        told = self._copy(["", list(words), str(cwd), dict(env), network_of], its_out, its_err)
        os.close(its_out)
        os.close(its_err)
        said: dict[int, bytes] = {out: b"", err: b"", told: b""}
        try:
            _read_all(said, timeout_s)
        except BaseException:
            with suppress(OSError, IndexError):
                os.kill(int(said[told].split()[0]), signal.SIGKILL)
            raise
        finally:
            for descriptor in said:
                os.close(descriptor)
        return int(said[told].split()[1]), said[out], said[err]

    def start(self, code: str, words: Sequence[str]) -> Copy:
        """``python -c CODE WORDS`` in this folder and with this environment."""
        out, its_out = os.pipe()
        told = self._copy([code, list(words), os.getcwd(), dict(os.environ), 0], its_out, 2)
        os.close(its_out)
        return Copy(out, told)

    def _copy(self, wanted: list[Any], out: int, err: int) -> int:
        """Where the new copy's id is told, and how it has ended."""
        told, its_end = os.pipe()
        asked = json.dumps(wanted).encode()
        with self._turn:
            socket.send_fds(self._line, [len(asked).to_bytes(8)], [out, err, its_end])
            self._line.sendall(asked)
        os.close(its_end)
        return told

    def close(self) -> None:
        """End the interpreter; commands that it has started go on."""
        self._line.close()
        self._process.terminate()
        self._process.wait()


class Copy:
    """A copy that lives, in the words of subprocess.Popen."""

    def __init__(self, out: int, told: int) -> None:
        self.stdout = os.fdopen(out)
        self._told = told
        self.pid = int(os.read(told, 100).split()[0])

    def wait(self, timeout: float = 60) -> None:
        """Return once it has ended. Raises TimeoutExpired after *timeout* seconds."""
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise subprocess.TimeoutExpired("", timeout)

    def kill(self) -> None:
        """SIGKILL to it, if it lives."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        os.close(self._told)


def started(code: str, words: Sequence[str]) -> Copy | subprocess.Popen[str]:
    """``python -c CODE WORDS``, with its standard output to be read, as a copy where that is possible."""
    if can_copy() and copier().fits([code, *words], os.environ):
        return copier().start(code, words)
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)


@cache
def copier() -> Copier:
    """The one of this worker, started at its first use."""
    return Copier()


def close_copier() -> None:
    """End the interpreter of this worker, where one was needed."""
    if copier.cache_info().currsize:
        copier().close()
        copier.cache_clear()


def _fixed(env: Mapping[str, str]) -> dict[str, str]:
    idle = ("LANG",) if env.get("LC_ALL") else ()
    return {name: value for name, value in env.items() if name.startswith(_FIXED) and name not in idle}


def _read_all(said: dict[int, bytes], timeout_s: float) -> None:
    """Read from each descriptor until nobody can write any more."""
    end, poll, open_ones = time.monotonic() + timeout_s, select.poll(), set(said)
    for descriptor in said:
        poll.register(descriptor, select.POLLIN)
    while open_ones:
        if time.monotonic() > end:
            raise TimeoutError(f"no end within {timeout_s:g} s, but {said}")
        for descriptor, _ in poll.poll(1000):
            chunk = os.read(descriptor, 65536)
            said[descriptor] += chunk
            if not chunk:
                poll.unregister(descriptor)
                open_ones.discard(descriptor)


# The other side -------------------------------------------------------------------------------------------------------


def serve(number: int) -> None:
    """Load all of aiframe, then be copied whenever the other end of the socket *number* asks, until it is gone."""
    for module in pkgutil.walk_packages(aiframe.__path__, "aiframe."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    os.execvpe = _or_play(os.execvpe)
    line = socket.socket(fileno=number)
    ends: dict[int, int] = {}
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        readable, _, _ = select.select([number, wakes], [], [])
        if wakes in readable:
            os.read(wakes, 4096)
            _tell_ends(ends)
        if number not in readable:
            continue
        head, streams, _, _ = socket.recv_fds(line, 8, 3)
        if not head:
            return
        code, words, cwd, env, network_of = json.loads(_exactly(line, int.from_bytes(head)))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (wakes, wake, streams.pop(), line.detach(), *ends.values()):
                os.close(descriptor)
            if network_of:
                _enter_network(network_of)
            for descriptor, stream in zip(streams, (1, 2), strict=True):
                os.dup2(descriptor, stream)
                os.close(descriptor)
            os.chdir(cwd)
            sys.path[:3] = [cwd]
            _become(["-c", code] if code else ["-m", "aiframe"], words, env)
        out, err, end = streams
        os.close(out)
        os.close(err)
        os.write(end, f"{pid} ".encode())
        ends[pid] = end


def _exactly(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += line.recv(size - len(got))
    return got


def _tell_ends(ends: dict[int, int]) -> None:
    """Write how each copy ended that has."""
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        end = ends.pop(pid)
        with suppress(BrokenPipeError):  # whoever asked has lost patience
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(end)


def _enter_network(pid: int) -> None:
    """Go into the network of the process *pid*, as nsenter does."""
    with open(f"/proc/{pid}/ns/net", "rb") as space:
        if _LIBC.setns(space.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")


def _or_play(execute: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """*execute*, which is os.execvpe, but a process that is to be the player of the scripted agent goes on as that."""
    begin, package = [sys.executable, "-P", "-c", LAUNCH], str(Path(aiframe.__file__).resolve().parents[1])
    fixed, path = _fixed(os.environ), sys.path[3:]

    def execute_or_play(file: str, argv: list[str], env: Mapping[str, str]) -> NoReturn:
        its_fixed = _fixed(env)
        same = its_fixed.items() <= fixed.items() and "LC_ALL" in its_fixed
        if argv[:5] == [*begin, package] and same and max(len(repr(argv)), len(repr(env))) < _ROOM:
            sys.path[:] = path
            _leave_behind()
            time.sleep(_START_S)
            _become(argv[1:4], argv[4:], dict(env))
        execute(file, argv, env)

    return execute_or_play


def _leave_behind() -> None:
    """Drop what a process that becomes another program loses, and begin as an interpreter does."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            if int(name) > 2 and not os.get_inheritable(int(name)):
                os.close(int(name))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    atexit._clear()
    forget_spawned()
    sys.modules.pop("aiframe.agents.scripted_player", None)


def _become(program: list[str], words: list[str], env: dict[str, str]) -> NoReturn:
    """Be ``python PROGRAM WORDS`` with the environment *env* to its end; the last of *program* is a module or code."""
    os.environ.clear()
    os.environ.update(env)
    _show("environment", [f"{name}={value}" for name, value in env.items()])
    _show("arguments", [sys.executable, *program, *words])
    sys.stdout, sys.stderr = _printer(1, sys.stdout), _printer(2, sys.stderr)
    *_, kind, text = program
    sys.argv[:] = [kind if kind == "-c" else text, *words]
    status = 1
    try:
        if kind == "-c":
            exec(text, {"__name__": "__main__"})
            status = 0
        else:
            runpy.run_module(text, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        sys.__excepthook__(*sys.exc_info())
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)  # to take down all that is loaded would take longer than most commands


def _show(what: str, words: Sequence[str]) -> None:
    """Let /proc tell *words* as this process's arguments or environment."""
    stat = Path("/proc/self/stat").read_bytes()
    at = _PLACES[what]
    begin, end = map(int, stat[stat.rindex(b")") + 2 :].split()[at : at + 2])
    text = b"".join(os.fsencode(word) + b"\0" for word in words)
    assert len(text) <= end - begin
    with open("/proc/self/mem", "wb", buffering=0) as memory:
        memory.seek(begin)
        memory.write(text.ljust(end - begin, b"\0"))


def _printer(stream: int, like: Any) -> io.TextIOWrapper:
    """Text for the descriptor *stream*; the one *like* it was made for another file, and remembers which kind."""
    into = io.BufferedWriter(io.FileIO(stream, "wb", closefd=False))
    return io.TextIOWrapper(into, encoding=like.encoding, errors=like.errors, line_buffering=like.line_buffering)
