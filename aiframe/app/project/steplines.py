"""What happens in a step as data: logs/runs/RUNID/log.jsonl, one JSON object a line, in the words of the journal.

Each line has ``ts`` (epoch seconds), ``kind``, ``run_id``, ``role``, ``task``, ``attempt`` and ``stage``, and what else
its kind has to say. How a step began and ended is the journal's to tell (logs/events.ndjson), and is not told twice.
"""

from __future__ import annotations

import json
import time
from typing import Any, BinaryIO

from aiframe.core.model import Run
from aiframe.core.redaction import Redactor
from aiframe.process import now
from aiframe.store.atomic import make_folder, storage_errors
from aiframe.store.layout import Layout

STAGES = (
    "prepare", "setup", "prove", "build", "write", "merge", "verify", "tests", "audit", "doctor",
    "wait_to_land", "land",
)  # fmt: skip
"""The stages of a step. ``build``: an agent works on a task; ``write``: on the documents."""

KINDS = (
    "stage_started", "stage_ended", "agent_started", "agent_ended", "message", "tool_call", "tool_result", "error",
    "output", "stderr", "usage", "gate_started", "gate_ended", "job_ended", "note", "ending", "log_full",
)  # fmt: skip
"""What may be told of a step."""

TALK = frozenset({"message", "tool_call", "tool_result", "error", "output", "stderr"})
"""What an agent says, of which there may be any amount."""

LIMIT_BYTES = 16 * 1024 * 1024
"""After so much no more of what an agent says is told here; the readable log has it."""
TEXT_CHARACTERS = 8 * 1024
"""The longest text of a line; of a longer one the beginning, with ``cut`` true."""


class StepLines:
    """The open log.jsonl of one step. All raise StorageError."""

    def __init__(self, layout: Layout, run: Run, redactor: Redactor) -> None:
        self.path = layout.step_lines(run.run_id)
        self._redactor = redactor
        self._about = {"run_id": run.run_id, "role": run.role.value, "task": run.task_id, "attempt": run.attempt}
        self._stage, self._since = "", 0.0
        make_folder(self.path.parent)
        with storage_errors(self.path, "write"):
            self._file: BinaryIO = self.path.open("ab", buffering=0)
            self._size = self._file.tell()
            if self._size:
                self._file.write(b"\n")  # what a killed runner may have torn stays alone
        self._is_full = self._size > LIMIT_BYTES
        self.stage("prepare")

    def add(self, kind: str, text: str = "", **fields: Any) -> None:
        """Add a line of *kind*; of what an agent says no more than fits. *text* has no secrets any more."""
        if kind in TALK and self._is_full:
            return
        fields = self._redactor.value(fields)
        fields |= {"text": text[:TEXT_CHARACTERS]} if text else {}
        fields |= {"cut": True} if len(text) > TEXT_CHARACTERS else {}
        self._write(kind, fields)
        if self._size > LIMIT_BYTES and not self._is_full:
            self._is_full = True
            self._write("log_full", {"text": "what the agent says from here on is in the readable log alone"})

    def stage(self, name: str) -> None:
        """The stage before it has ended, and the stage *name* begins; nothing where it is on already."""
        if name == self._stage:
            return
        self._end_stage()
        self._stage, self._since = name, time.monotonic()
        self._write("stage_started", {})

    def close(self) -> None:
        """The step has ended."""
        try:
            self._end_stage()
        finally:
            self._file.close()

    def _end_stage(self) -> None:
        if self._stage:
            self._write("stage_ended", {"seconds": round(time.monotonic() - self._since, 3)})

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        line = {"ts": round(now().wall, 3), "kind": kind, **self._about, "stage": self._stage}
        line |= fields
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        with storage_errors(self.path, "write"):
            self._file.write(data)
        self._size += len(data)
