"""One command and everything below it, held through its guardian."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from aiframe import guardian, living
from aiframe.core.ports import Command
from aiframe.process.cookies import carrying
from aiframe.process.guarding import start_guardian
from aiframe.process.pump import Pump
from aiframe.process.start import not_started, wait_within

PATIENCE_S = living.END_WITHIN_S + 1.0
"""How long a guardian may take to end its tree before this process does it instead."""

_AFTER_WORD_S = 1.0
_KILLED = -9


class Tree:
    """A started command with its guardian; leaving the context ends whatever is left of it.

    *program* is the module of aiframe that the guardian runs; it inherits *keep_fds*. Should the guardian be killed,
    its orphans come to this process: *is_ours* tells them from what else has been started here meanwhile, by their id
    and the guardian's. Without it there may be nothing else.

    Raises MissingProgram on construction when nothing could be started at all.
    """

    def __init__(
        self, command: Command, env: Mapping[str, str], cookie: str, *, program: str = "guardian",
        keep_fds: Sequence[int] = (), is_ours: Callable[[int, int], bool] | None = None,
    ) -> None:  # fmt: skip
        self._argv = command.argv
        self._stdin = command.stdin.encode(errors="replace")
        self._cookie = cookie
        self._heard = bytearray()
        self._gone = False
        guardian.become_subreaper()  # for the orphans of a guardian that somebody kills
        self._earlier = _children()
        self._is_ours = is_ours
        self._guardian, self._lifeline, self._status = start_guardian(command, env, cookie, program, keep_fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._status.close()
        with self._guardian:  # closes its pipes
            pass

    @property
    def ended(self) -> bool:
        """Whether the command itself has ended, or could not be started."""
        return self._word("status") is not None or self._word("error") is not None

    @property
    def gone(self) -> bool:
        """Whether the guardian has ended too: nothing more will happen by itself."""
        return self._gone

    def connect(self, pump: Pump, on_stdout: Callable[[bytes], None], on_stderr: Callable[[bytes], None]) -> None:
        """Let *pump* serve the standard streams of the command, and what the guardian reports."""
        assert self._guardian.stdout is not None
        assert self._guardian.stderr is not None
        pump.read(self._guardian.stdout, on_stdout)
        pump.read(self._guardian.stderr, on_stderr)
        pump.read(self._status, self._heard.extend, at_end=self._lost)
        if self._guardian.stdin is not None:
            pump.write(self._guardian.stdin, self._stdin)

    def _lost(self) -> None:
        self._gone = True

    def ask_to_end(self) -> None:
        """SIGTERM to every process of the tree."""
        with suppress(BrokenPipeError):  # the guardian has just ended
            self._lifeline.write(b"T")

    def end(self) -> None:
        """End at once what is left of the tree; harmless when nothing is."""
        self._lifeline.close()
        self._hear_out(PATIENCE_S)
        code = wait_within(self._guardian, _AFTER_WORD_S)
        if code is None:  # stopped, or stuck
            self._guardian.kill()
            code = self._guardian.wait()
        if code != 0:
            self._sweep()

    def _hear_out(self, within_s: float) -> None:
        """Take what the guardian reports until it ends, which is the end of its pipe."""
        deadline = time.monotonic() + within_s
        while select.select((self._status,), (), (), max(0.0, deadline - time.monotonic()))[0]:
            report = os.read(self._status.fileno(), 4096)
            self._heard.extend(report)
            if not report:
                break

    def exit_code(self) -> int:
        """How the command ended, negative for a signal. Raises MissingProgram when it could not be started."""
        error = self._word("error")
        if error is not None:
            raise not_started(self._argv, os.strerror(error))
        status = self._word("status")
        return _KILLED if status is None else os.waitstatus_to_exitcode(status)

    def _word(self, name: str) -> int | None:
        found = re.search(rb"^%b (\d+)\n" % name.encode(), self._heard, re.MULTILINE)
        return int(found[1]) if found else None

    def _sweep(self) -> None:
        """Do a dead guardian's work: its orphans have become children of this process."""

        def find() -> set[int]:
            table = living.process_table()
            ours = living.below(table, [os.getpid()]) - self._earlier - living.below(table, self._earlier)
            if self._is_ours is not None:
                ours = {pid for pid in ours if self._is_ours(pid, self._guardian.pid)}
            return (ours | carrying(self._cookie)) - {os.getpid()}

        living.end_all(find, within_s=living.END_WITHIN_S, collect=_collect)
        if self._is_ours is not None:  # those that were dead before
            me = os.getpid()
            _collect({pid for pid in living.children_of(me) if self._is_ours(pid, self._guardian.pid)})


def _children() -> set[int]:
    """The children of this process, from the kernel's own list of them where it has one: the table of all is longer."""
    found: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
                found.update(map(int, file.read().split()))
    except OSError:
        me = os.getpid()
        return {pid for pid, entry in living.process_table().items() if entry.parent == me}
    return found


def _collect(pids: set[int]) -> bool:
    """Take the exit statuses of those of *pids* that are dead children of this process; say whether others live."""
    more = False
    for pid in pids:
        with suppress(ChildProcessError):
            more |= os.waitpid(pid, os.WNOHANG)[0] == 0
    return more
