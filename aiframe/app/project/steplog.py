"""What a step prints: readable text in logs/tick-RUNID.log, for people who follow it or read it later."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from aiframe.core.model import Run
from aiframe.core.redaction import RedactedStream, Redactor
from aiframe.store.atomic import storage_errors
from aiframe.store.layout import Layout

_CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # a message to the terminal, such as its title
    r"|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """*text* without terminal escapes and control bytes, so that a log cannot play tricks on a terminal."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class StepLog:
    """The open log of one step, without secrets; each line is on disk for a follower at once."""

    def __init__(self, layout: Layout, run: Run, redactor: Redactor) -> None:
        self._redactor = redactor
        self._foreign: RedactedStream = redactor.stream()
        self.path: Path = layout.tick_log(run.run_id)
        with storage_errors(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("ab", buffering=0)
        about = f" task {run.task_id} attempt {run.attempt}" if run.task_id else ""
        self.say(f"== {run.role.value}{about}  (run {run.run_id})")

    def say(self, text: str) -> None:
        """Add *text* as lines of its own."""
        body = self._redactor.text(plain(text))  # in this order: what parted a secret may be gone then
        if body and not body.endswith("\n"):
            body += "\n"
        self._add(self._foreign.end() + body.encode("utf-8", "replace"))

    def add_foreign(self, data: bytes) -> None:
        """Add bytes that a process printed, as they come. Raises StorageError."""
        self._add(self._foreign.feed(plain(data.decode("utf-8", "replace")).encode()))

    def _add(self, data: bytes) -> None:
        with storage_errors(self.path, "write"):
            self._file.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._add(self._foreign.end())
        finally:
            self._file.close()
