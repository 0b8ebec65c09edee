"""A child program that serves this process, talks with it over its standard streams and is gone when it is."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from aiframe.process.start import check_startable, not_started, wait_within

_CHUNK_BYTES = 64 * 1024
_END_WITHIN_S = 2.0


class Companion:
    """A running child whose standard input and output are one socket; at its end of file the child has to leave.

    It has a session of its own, so that no Ctrl-C reaches it. No other child inherits our end of the socket.
    Raises MissingProgram, MissingFolder.
    """

    def __init__(self, argv: Sequence[str], *, cwd: PurePath, env: Mapping[str, str]) -> None:
        check_startable(argv, cwd, env)
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = subprocess.Popen(
                    list(argv), cwd=cwd, env=dict(env), stdin=theirs.fileno(), stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                self._socket.close()
                raise not_started(argv, error) from error
        self._socket.setblocking(False)
        self._unsent = bytearray()
        self._gone = False

    @property
    def pid(self) -> int:
        """The id of the child."""
        return self._child.pid

    def send(self, text: bytes) -> None:
        """Let the child have *text* as soon as it takes it; `receive` sees to that."""
        self._unsent += text

    def receive(self, timeout_s: float) -> bytes | None:
        """What the child says next; empty after *timeout_s* seconds without a word, None once it is gone."""
        deadline = time.monotonic() + timeout_s
        while not self._gone:
            writers = [self._socket] if self._unsent else []
            readable, writable, _ = select.select([self._socket], writers, [], max(0.0, deadline - time.monotonic()))
            try:
                if writable:
                    del self._unsent[: self._socket.send(self._unsent[:_CHUNK_BYTES])]
                if readable:
                    said = self._socket.recv(_CHUNK_BYTES)
                    self._gone = not said
                    return said or None
            except BlockingIOError:
                continue
            except OSError:  # it has left with words of ours unread
                self._gone = True
            if not writable:
                return b""
        return None

    def close(self) -> int:
        """Let go of the child: one that is not gone yet is killed. Its exit code, negative for a signal."""
        self._socket.close()
        if not self._gone or wait_within(self._child, _END_WITHIN_S) is None:
            self._child.kill()
        return self._child.wait()
