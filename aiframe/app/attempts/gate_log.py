"""The log of a gate's command: without secrets, and of an output without end only its beginning and its end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from aiframe.app.project.steplog import plain
from aiframe.core.redaction import RedactedStream, Redactor

LOG_BYTES = 16 * 1024 * 1024
"""How much of an output is kept from its beginning on; of what follows, only the end."""

_END_BYTES = 64 * 1024
_CUT_BYTES = 8 * 1024
"""What is left off from the end that is kept: it may begin in the middle of a secret, which nobody would recognise."""
_TAIL = 4_000
"""How many bytes of a failed command's output go back to the agent."""


class GateLog:
    """The open log of one command; each byte is on disk for a follower at once. Raises OSError."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path = path
        self._redactor = redactor
        self._redacted: RedactedStream = redactor.stream()
        self._file: BinaryIO | None = None
        self._taken = 0
        self._end = bytearray()
        self._tail = bytearray()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Begin the file."""
        self._file = self.path.open("wb", buffering=0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the output."""
        room = max(0, LOG_BYTES - self._taken)
        self._taken += len(chunk)
        if room:
            self._write(self._redacted.feed(chunk[:room]))
        self._end += chunk[room:]
        del self._end[:-_END_BYTES]

    def finish(self) -> None:
        """Nothing comes any more."""
        left_out = self._taken - LOG_BYTES - len(self._end)
        if left_out <= 0:
            self._write(self._redacted.feed(bytes(self._end)) + self._redacted.end())
            return
        # What is still held back may be the first half of a secret: it is left out with the rest.
        self._write(f"\n[... {left_out + _CUT_BYTES} bytes are left out here ...]\n".encode())
        self._write(self._redactor.data(bytes(self._end[_CUT_BYTES:])))

    def tail(self) -> str:
        """The end of the output as readable text."""
        return plain(self._tail.decode("utf-8", "replace")).strip("\n")

    def _write(self, redacted: bytes) -> None:
        if self._file is not None:
            self._file.write(redacted)
        self._tail += redacted[-_TAIL:]
        del self._tail[:-_TAIL]
