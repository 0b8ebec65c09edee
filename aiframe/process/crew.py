"""Many commands below one guardian, several at a time, where a guardian for each would cost more than the command."""

from __future__ import annotations

import marshal
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import IO, Any, Self

from msgspec import Struct

from aiframe import foreman, living
from aiframe.core.ports import Command
from aiframe.process.cookies import cookie, outer_cookies
from aiframe.process.pump import Pump
from aiframe.process.start import check_folder, find_program
from aiframe.process.supervision import STOOD_STILL_S
from aiframe.process.tree import Tree

PATIENCE_S = 3 * living.END_WITHIN_S
"""How long the foreman may not listen, or not tell the end of a command that it had to kill; then it is stuck."""
_ENDED = re.compile(rb"ended (\d+) (\d+) ([\d.]+)\n")


class Ended(Struct, frozen=True):
    """A command that has ended, with all of its tree: *code* is negative for a signal, *seconds* is its leader's."""

    key: str
    code: int
    seconds: float


class _Running(Struct, frozen=True):
    """A command that runs: its number, and what it prints."""

    number: int
    output: IO[bytes]


class Crew:
    """Runs commands side by side; leaving the context ends at once, with all of its tree, each that still runs.

    The environment of a command is *env_base*, on top of it ``command.env`` and the cookie of *run_id*, which is unique
    on this machine. *cwd* is where the foreman stands. Raises MissingProgram, MissingFolder.
    """

    def __init__(self, run_id: str, *, cwd: PurePath, env_base: Mapping[str, str]) -> None:
        check_folder(cwd)
        self._env = {**env_base, **outer_cookies(), cookie(run_id): "1"}
        self._protected = {cookie(run_id): "1"}
        self._programs: dict[tuple[str, PurePath | None, str | None], bytes] = {}
        self._running: dict[str, _Running] = {}
        self._due: dict[str, float] = {}
        """By when the end of a command is to be told that was asked to end (of the monotonic clock)."""
        self._ended: list[Ended] = []
        self._heard = bytearray()
        self._count = 0
        self._cut = self._lost = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                place = str(theirs.fileno())
                self._tree = Tree(
                    Command((place,), cwd), self._env, cookie(run_id), program="foreman",
                    keep_fds=(theirs.fileno(),), is_ours=foreman.is_below,
                )  # fmt: skip
            except BaseException:
                self._socket.close()
                raise
        self._socket.settimeout(PATIENCE_S)
        self._pump = Pump()
        self._tree.connect(self._pump, _pass_on, _pass_on)
        self._pump.read(self._socket, self._heard.extend, at_end=self._cut_off)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.__exit__()
        self._socket.close()
        for running in self._running.values():
            running.output.close()
        self._running.clear()
        self._pump.__exit__()

    @property
    def lost(self) -> bool:
        """Whether foreman or guardian is gone: `wait` ends what runs then, and tells the end of nothing any more."""
        return self._lost or self._cut

    def start(self, key: str, command: Command, on_output: Callable[[bytes], None]) -> None:
        """Start *command*, to be known by *key*, with nothing on its standard input.

        What it prints goes to *on_output*, in pieces of at most 64 KiB; it is called in `wait`, and the command waits
        for it. A command that turns out not to be startable ends with 127 and says why. Raises MissingProgram,
        MissingFolder, and ValueError for a key that runs and for a command that reads its standard input.
        """
        if key in self._running:
            raise ValueError(f"a command with the key {key!r} runs already")
        if command.stdin:
            raise ValueError("a command of a crew has no standard input")
        check_folder(command.cwd)
        program = self._find(command)
        words = [os.fsencode(word) for word in command.argv]
        env = {os.fsencode(name): os.fsencode(value) for name, value in {**command.env, **self._protected}.items()}
        self._count += 1
        read, write = os.pipe()
        output = os.fdopen(read, "rb", buffering=0)
        self._running[key] = _Running(self._count, output)
        self._pump.read(output, on_output)
        try:
            self._send(("start", self._count, program, words, os.fsencode(command.cwd), env), write)
        finally:
            os.close(write)

    def stop(self, key: str, *, grace_s: float = 5) -> None:
        """Ask the tree of a command to end, and kill it after *grace_s* seconds, or what is left of it at its end."""
        if key in self._running:
            due = time.monotonic() + grace_s + PATIENCE_S
            self._due[key] = min(due, self._due.get(key, due))
            self._send(("stop", self._running[key].number, float(grace_s)))

    def wait(self, timeout_s: float) -> tuple[Ended, ...]:
        """Serve the commands until one has ended or the crew is lost, for *timeout_s* seconds; say what has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            until = min((now,) if self._ended or self.lost else (deadline, *self._due.values()))
            ready = self._pump.wait(max(0.0, until - now))
            if time.monotonic() - max(now, until) > STOOD_STILL_S:
                self._give_time()
            self._pump.move(ready)
            self._take_endings()
            if self._ended or self._lost or now >= deadline:
                ended, self._ended = tuple(self._ended), []
                return ended

    def _give_time(self) -> None:
        """After a time in which nothing could run, the foreman gets as long as it needs for what was due in it."""
        soonest = time.monotonic() + PATIENCE_S
        self._due = {key: max(due, soonest) for key, due in self._due.items()}

    def _find(self, command: Command) -> bytes:
        """Where the program of a command is. What was found once is not looked for again."""
        env = {**self._env, **command.env}
        program = command.argv[0]
        wanted = program, command.cwd if "/" in program else None, env.get("PATH")
        if wanted not in self._programs:
            self._programs[wanted] = os.fsencode(find_program(program, command.cwd, env))
        return self._programs[wanted]

    def _send(self, order: tuple[Any, ...], *descriptors: int) -> None:
        text = marshal.dumps(order)
        frame = len(text).to_bytes(foreman.HEAD_BYTES, "big") + text
        if not self.lost:
            try:
                sent = socket.send_fds(self._socket, [frame], descriptors)
                self._socket.sendall(frame[sent:])
            except OSError:  # nobody hears us: `wait` sees to the rest
                self._cut_off()

    def _cut_off(self) -> None:
        self._cut = True

    def _take_endings(self) -> None:
        while said := _ENDED.match(self._heard):
            number, status, seconds = int(said[1]), int(said[2]), float(said[3])
            del self._heard[: said.end()]
            key = next(key for key, running in self._running.items() if running.number == number)
            self._ended.append(Ended(key, os.waitstatus_to_exitcode(status), seconds))
            self._let_go(key)
        overdue = any(due <= time.monotonic() for due in self._due.values())
        if self._tree.gone or self._cut or overdue:
            self._lose()

    def _lose(self) -> None:
        """End what ran, for there is nobody any more who could tell when it ends."""
        if not self._lost:
            self._cut = self._lost = True
            self._tree.end()
        for key in tuple(self._running):
            self._let_go(key)

    def _let_go(self, key: str) -> None:
        """All that a command has printed is in its pipe by now: take it, and close the pipe."""
        self._due.pop(key, None)
        with self._running.pop(key).output as output:
            self._pump.finish(output)


def _pass_on(chunk: bytes) -> None:
    """What guardian and foreman print themselves is the report of an error of ours."""
    sys.stderr.write(chunk.decode(errors="replace"))
