"""Runs of a project as their journal and results tell them, written without running anything."""

from __future__ import annotations

import json
from typing import Any

from support.projects import Bench

BEGAN = 1_770_000_000.0
"""When the first of the written runs began, in epoch seconds."""


def write_run(bench: Bench, run_id: str, *, journal: bool = True, result: bool = True, **more: Any) -> None:
    """A run that ended, one minute after it began; *more* are fields of its result.json, *spent* of its last event."""
    at = more.pop("at", BEGAN)
    spent = more.pop("spent", {})
    failure = more.pop("failure", "")
    told: dict[str, Any] = {
        "run_id": run_id, "role": "DEV", "task_id": "T1", "attempt": 1, "agent": "codex", "model": "m1",
        "started_at": at, "completed_at": at + 60, "success": not failure, "total_cost_usd": None,
        "usage": {"input_tokens": 1000, "output_tokens": 50}, **more,
    }  # fmt: skip
    if failure:
        told["broken"] = {"failures": [{"kind": failure, "message": f"it was {failure}"}]}
    if result:
        bench.write(f"logs/runs/{run_id}/result.json", json.dumps(told))
    if journal:
        about = {"run_id": run_id, "role": told["role"], "task": told["task_id"], "attempt": told["attempt"]}
        outcome = failure or ("held" if told.get("held") else "ok")
        write_events(
            bench,
            {"ts": at, "kind": "step_started", "key": f"{run_id}:step_started", **about},
            {"ts": at + 60, "kind": "step_ended", "key": f"{run_id}:step_ended", "outcome": outcome, **spent, **about},
        )


def write_events(bench: Bench, *events: dict[str, Any]) -> None:
    """Lines at the end of the journal."""
    bench.write("logs/events.ndjson", bench.text("logs/events.ndjson") + "".join(f"{json.dumps(e)}\n" for e in events))
