"""What an agent prints on its way, without secrets: kept in a file, told to its reader line by line, and logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from msgspec import Struct, field

from aiframe.app.attempts.spending import Meter
from aiframe.app.project.steplog import StepLog
from aiframe.core.ports import Reader
from aiframe.core.redaction import Redactor
from aiframe.process import STDERR_BYTES

LINE_LIMIT = 1024 * 1024
"""Bytes of one line that a reader gets to see; the file keeps the whole line."""


class Lines(Struct):
    """Cuts a stream of bytes into lines of text; what exceeds the limit of a line is left out."""

    take: Callable[[str], None]
    _held: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, and hand on each line that they complete."""
        head, *rest = chunk.split(b"\n")
        self._hold(head)
        for piece in rest:
            self.end()
            self._hold(piece)

    def end(self) -> None:
        """Hand on what is held as one line."""
        line, self._held = self._held, bytearray()
        if line:
            self.take(line.decode("utf-8", "replace"))

    def _hold(self, piece: bytes) -> None:
        self._held += piece[: LINE_LIMIT - len(self._held)]


class Heard:
    """The two streams of one invocation. *raw* is the file that keeps its output, *meter* follows what it spends."""

    def __init__(self, raw: BinaryIO, reader: Reader, redactor: Redactor, log: StepLog, meter: Meter) -> None:
        self.reader = reader
        self._raw, self._log, self._meter = raw, log, meter
        self._output, self._errors = redactor.stream(), redactor.stream()
        self._stderr = bytearray()
        self._lines = Lines(self._hear)

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of its output. Raises OSError, StorageError."""
        self._keep(self._output.feed(chunk))

    def take_error(self, chunk: bytes) -> None:
        """Take the next bytes of what it prints as errors. Raises StorageError."""
        self._log.add_foreign(chunk)
        self._stderr.extend(self._errors.feed(chunk))
        del self._stderr[:-STDERR_BYTES]

    def end(self) -> None:
        """Its output is over: what was held back is taken, too. Raises OSError, StorageError."""
        self._keep(self._output.end())
        self._lines.end()

    def errors(self) -> str:
        """The last of what it printed as errors, without secrets; for once, when that is over."""
        return (self._stderr + self._errors.end()).decode("utf-8", "replace")

    def is_too_dear(self) -> bool:
        """Whether a limit of the budget is reached before the agent has come to its end."""
        return not self.reader.complete and self._meter.is_over()

    def _keep(self, redacted: bytes) -> None:
        self._raw.write(redacted)
        self._lines.feed(redacted)

    def _hear(self, line: str) -> None:
        said = self.reader.feed(line)
        self._log.say(said, getattr(self.reader, "kind", "output"))
        if self._meter.take(self.reader.usage, self.reader.cost_usd):
            self._log.tell("usage", **self._meter.told())
