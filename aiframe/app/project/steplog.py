"""What a step prints: readable text in logs/tick-RUNID.log, for people who follow it or read it later.

The same goes, one JSON object for each thing that happened, into logs/runs/RUNID/log.jsonl (see steplines.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from aiframe.app.project.steplines import StepLines
from aiframe.core.model import Run
from aiframe.core.redaction import RedactedStream, Redactor
from aiframe.store.atomic import storage_errors
from aiframe.store.layout import Layout

_CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # a message to the terminal, such as its title
    r"|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)

_PIECE = 8 * 1024
"""A line that a process does not end is told in pieces of so many bytes."""


def plain(text: str) -> str:
    """*text* without terminal escapes and control bytes, so that a log cannot play tricks on a terminal."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class StepLog:
    """The open log of one step, without secrets; each line is on disk for a follower at once."""

    def __init__(self, layout: Layout, run: Run, redactor: Redactor) -> None:
        self._redactor = redactor
        self._foreign: RedactedStream = redactor.stream()
        self._stderr = b""
        self.path: Path = layout.tick_log(run.run_id)
        with storage_errors(self.path, "write"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("ab", buffering=0)
        try:
            self._lines = StepLines(layout, run, redactor)
            about = f" task {run.task_id} attempt {run.attempt}" if run.task_id else ""
            self._print(f"== {run.role.value}{about}  (run {run.run_id})")
        except BaseException:
            self._file.close()
            raise

    def say(self, text: str, kind: str = "note", **fields: Any) -> None:
        """Add *text* as lines of its own, and as a structured line of *kind* with *fields*."""
        body = self._print(text)
        if body:
            self._lines.add(kind, text=body.rstrip("\n"), **fields)

    def tell(self, kind: str, **fields: Any) -> None:
        """Add a structured line that people who read the text need not see."""
        self._lines.add(kind, **fields)

    def stage(self, name: str) -> None:
        """The step has come to the stage *name*; see `STAGES`."""
        self._lines.stage(name)

    def add_foreign(self, data: bytes) -> None:
        """Add bytes that a process printed, as they come. Raises StorageError."""
        self._add_foreign(self._foreign.feed(plain(data.decode("utf-8", "replace")).encode()))

    def _print(self, text: str) -> str:
        body = self._redactor.text(plain(text))  # in this order: what parted a secret may be gone then
        if body and not body.endswith("\n"):
            body += "\n"
        self._add_foreign(self._foreign.end())
        self._add(body.encode("utf-8", "replace"))
        return body

    def _add_foreign(self, redacted: bytes) -> None:
        """Print what a process said, and tell each whole line of it."""
        self._add(redacted)
        *whole, self._stderr = (self._stderr + redacted).split(b"\n")
        if len(self._stderr) > _PIECE:
            whole, self._stderr = [*whole, self._stderr], b""
        if said := b"\n".join(whole).decode("utf-8", "replace").strip("\n"):
            self._lines.add("stderr", text=said)

    def _add(self, data: bytes) -> None:
        with storage_errors(self.path, "write"):
            self._file.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._add_foreign(self._foreign.end() + (b"\n" if self._stderr else b""))
        finally:
            self._file.close()
            self._lines.close()
