"""A project's values to and from its two files: the control record, which decides, and STATE.json, which shows."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from aiframe.core.model import (
    READY_STATE,
    STEP_ROLES,
    Failure,
    FailureKind,
    Moment,
    Project,
    Role,
    Run,
    Runner,
    State,
    Wait,
)
from aiframe.store.layout import is_safe_name
from aiframe.store.state_file import SCHEMA, StateFile, parse_state

__all__ = [
    "StateFile",
    "as_state_file",
    "decode_project",
    "encode_project",
    "fingerprint",
    "from_legacy",
    "parse_state",
    "render_state",
    "runner_in",
    "to_state",
    "with_heartbeat",
]

_SURROGATE = re.compile("[\ud800-\udfff]")
_BEAT = re.compile(rb'(?m)^  "(heartbeat_at|updated_at)": \d+(?=,?$)')


def encode_project(project: Project) -> dict[str, Any]:
    """*project* as plain JSON values."""
    plain = msgspec.to_builtins(project, enc_hook=_plain)
    return {str(name): _clean(value) for name, value in plain.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"no JSON value: {value!r}")


def _clean(value: Any) -> Any:
    """*value* with what UTF-8 cannot carry replaced: a file name that is no text may stand in an error message."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def decode_project(values: Mapping[str, Any]) -> Project:
    """The project that *values* spell: unknown keys are passed over, missing ones get their defaults.

    Raises ValueError, whose message names the key.
    """
    return msgspec.convert(dict(values), Project)


def to_state(project: Project, clock_wall: float, before: Mapping[str, Any]) -> dict[str, Any]:
    """What STATE.json shows of *project* at *clock_wall* (epoch seconds).

    The fields of *before*, the object that is replaced, keep their order, the unknown ones also their values.
    """
    now = int(clock_wall)
    run, settings = project.run, project.settings
    beat = before.get("heartbeat_at")
    shown: dict[str, Any] = {
        "schema": SCHEMA,
        "state": str(project.state),
        "role": str(run.role) if run else "",
        "run_id": run.run_id if run else "",
        "started_at": int(run.started.wall) if run else 0,
        "updated_at": now,
        "heartbeat_at": now if run else int(beat) if isinstance(beat, int | float) else 0,
        "timeout_sec": _short(settings.timeout_sec),
        "diagnosis_done": project.diagnosis_done,
        "resume_state": str(project.resume_state or ""),
        "diagnosis": project.diagnosis,
        "last_error": project.last_error,
        "interactive_mode": settings.interactive_mode,
        "plan_locked": settings.plan_locked,
        "review_every_n_tasks": settings.review_every_n_tasks,
        "require_confirmations": settings.require_confirmations,
        "review_items": list(project.review_items),
        "not_before": math.ceil(project.wait.until) if project.wait else None,
        "failure": _shown_failure(project.failure),
        "runner": _shown_runner(run.runner) if run else None,
        "generation": project.generation,
    }
    merged = {name: shown.pop(name, value) for name, value in before.items()}
    cleaned: dict[str, Any] = _clean(merged | shown)
    return cleaned


def _short(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _shown_failure(failure: Failure | None) -> dict[str, str] | None:
    if failure is None:
        return None
    return {"kind": str(failure.kind), "message": failure.message, "hint": failure.hint}


def _shown_runner(runner: Runner) -> dict[str, Any]:
    return {"pid": runner.pid, "started": runner.started, "boot": runner.boot, "host": runner.host}


def render_state(values: Mapping[str, Any]) -> bytes:
    """The bytes of a STATE.json: two spaces of indentation, a newline at the end, all letters as they are."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def as_state_file(project: Project) -> StateFile:
    """The known fields of the STATE.json that aiframe writes for *project*, without times."""
    run = project.run
    return StateFile(
        state=project.state,
        role=str(run.role) if run else "",
        run_id=run.run_id if run else "",
        started_at=int(run.started.wall) if run else 0,
        settings=project.settings,
        diagnosis_done=project.diagnosis_done,
        resume_state=project.resume_state,
        diagnosis=project.diagnosis,
        last_error=project.last_error,
        review_items=project.review_items,
        not_before=math.ceil(project.wait.until) if project.wait else None,
        failure=_shown_failure(project.failure),
        runner=_shown_runner(run.runner) if run else None,
        generation=project.generation,
    )


def fingerprint(data: bytes) -> str:
    """A hash of a STATE.json that a heartbeat leaves as it is."""
    return hashlib.sha256(_BEAT.sub(rb'  "\1": 0', data)).hexdigest()


def with_heartbeat(data: bytes, clock_wall: float) -> bytes:
    """The STATE.json *data*, as render_state made it, with both of its times set to *clock_wall* (epoch seconds)."""
    return _BEAT.sub(b'  "\\1": %d' % int(clock_wall), data)


def from_legacy(file: StateFile) -> Project:
    """The project that a STATE.json describes all by itself, as the original framework's does."""
    return Project(
        state=file.state,
        run=_legacy_run(file) if file.state is State.RUNNING else None,
        settings=file.settings,
        diagnosis_done=file.diagnosis_done,
        diagnosed_role=_diagnosed_role(file),
        resume_state=file.resume_state,
        diagnosis=file.diagnosis,
        last_error=file.last_error,
        failure=_legacy_failure(file.failure),
        wait=_legacy_wait(file),
        paused_from=file.resume_state if file.state in (State.PAUSED, State.PAUSE_INTERACT) else None,
        review_items=file.review_items,
    )


def _legacy_run(file: StateFile) -> Run:
    return Run(
        run_id=file.run_id if is_safe_name(file.run_id) else "legacy",
        role=next((role for role in STEP_ROLES if role == file.role), Role.DEV),
        started=Moment(wall=file.started_at or file.heartbeat_at or file.updated_at),
        timeout_s=file.settings.timeout_sec,
        runner=Runner(pid=0, started=0),
    )


def runner_in(file: StateFile) -> Runner | None:
    """The runner of the step that a STATE.json shows; None where it shows none, or is no aiframe's."""
    if file.state is not State.RUNNING or file.runner is None:
        return None
    try:
        return msgspec.convert(dict(file.runner), Runner)
    except msgspec.ValidationError:
        return None


def _diagnosed_role(file: StateFile) -> Role | None:
    if not file.diagnosis_done:
        return None
    return next((role for role, state in READY_STATE.items() if state is file.resume_state), None)


def _legacy_failure(shown: Mapping[str, Any] | None) -> Failure | None:
    if shown is None or shown.get("kind") not in set(FailureKind):
        return None
    return Failure(FailureKind(shown["kind"]), str(shown.get("message", "")), str(shown.get("hint", "")))


def _legacy_wait(file: StateFile) -> Wait | None:
    if file.not_before is None:
        return None
    return Wait(file.updated_at, max(0.0, file.not_before - file.updated_at))
