"""STATE.json as it stands on disk: typed values of the known fields, everything else kept as it is."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, field

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Settings, State, Unknown
from aiframe.core.problem import Problem
from aiframe.store.json_source import JsonObject, read_object

SCHEMA = 1
MAX_NUMBER = 10**12
T = TypeVar("T")


class StateFile(Struct, frozen=True):
    """The content of a STATE.json. Times are epoch seconds, 0 for never; *raw* is the whole object in its order."""

    state: State | Unknown = State.INTAKE_READY
    role: str = ""
    run_id: str = ""
    started_at: float = 0
    updated_at: float = 0
    heartbeat_at: float = 0
    settings: Settings = field(default_factory=Settings)
    diagnosis_done: bool = False
    resume_state: State | None = None
    diagnosis: str = ""
    last_error: str = ""
    review_items: tuple[str, ...] = ()
    not_before: float | None = None
    failure: Mapping[str, Any] | None = None
    runner: Mapping[str, Any] | None = None
    generation: int = 0
    raw: dict[str, Any] = field(default_factory=dict)


class WrongValue(Exception):
    """A field holds something else than it should; the message says what is wanted."""


def parse_state(path: Path, data: bytes) -> StateFile:
    """The STATE.json whose bytes are *data*. Missing fields get their defaults.

    Raises UnreadableFile with every problem found, each with its line.
    """
    fields = _Fields(path, read_object(path, data))
    defaults = StateFile()
    settings = defaults.settings
    fields.check("schema", SCHEMA, _schema)
    parsed = StateFile(
        state=fields.check("state", defaults.state, _state),
        role=fields.check("role", "", _text),
        run_id=fields.check("run_id", "", _text),
        started_at=fields.check("started_at", defaults.started_at, _seconds),
        updated_at=fields.check("updated_at", defaults.updated_at, _seconds),
        heartbeat_at=fields.check("heartbeat_at", defaults.heartbeat_at, _seconds),
        settings=Settings(
            timeout_sec=fields.check("timeout_sec", settings.timeout_sec, _timeout),
            interactive_mode=fields.check("interactive_mode", settings.interactive_mode, _flag),
            plan_locked=fields.check("plan_locked", settings.plan_locked, _flag),
            review_every_n_tasks=fields.check("review_every_n_tasks", settings.review_every_n_tasks, _count),
            require_confirmations=fields.check("require_confirmations", settings.require_confirmations, _flag),
        ),
        diagnosis_done=fields.check("diagnosis_done", False, _flag),
        resume_state=fields.check("resume_state", None, _known_state),
        diagnosis=fields.check("diagnosis", "", _text),
        last_error=fields.check("last_error", "", _text),
        review_items=fields.check("review_items", (), _items),
        not_before=fields.check("not_before", defaults.not_before, _seconds),
        failure=fields.check("failure", None, _object),
        runner=fields.check("runner", None, _object),
        generation=fields.check("generation", 0, _count),
        raw=fields.source.values,
    )
    if fields.problems:
        raise UnreadableFile(fields.problems)
    return parsed


class _Fields:
    """Takes the fields of one object, each checked, and gathers what is wrong with them."""

    def __init__(self, path: Path, source: JsonObject) -> None:
        self.path = path
        self.source = source
        self.problems: list[Problem] = []

    def check(self, name: str, default: T, read: Callable[[Any], T]) -> T:
        value = self.source.values.get(name)
        if value is None:
            return default
        try:
            return read(value)
        except WrongValue as wrong:
            line, column = self.source.place(name)
            message = f"{name} {wrong}, not {_shown(value)}"
            self.problems.append(Problem(self.path, message, line, column, f"correct the value of {name}"))
            return default


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise WrongValue("must be a text")


def _state(value: Any) -> State | Unknown:
    if not isinstance(value, str):
        raise WrongValue("must be the name of a state")
    return State(value) if value in State.__members__ else Unknown(value)


def _known_state(value: Any) -> State | None:
    if value == "":
        return None
    state = _state(value)
    if isinstance(state, State):
        return state
    close = difflib.get_close_matches(value, list(State), 1)
    raise WrongValue(f"must be one of the states, such as {close[0] if close else State.DEV_READY}")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise WrongValue("must be true or false")


def _number(value: Any, wanted: str, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(wanted)
    if not least <= value <= MAX_NUMBER or (isinstance(value, float) and math.isnan(value)):
        raise WrongValue(wanted)
    return value


def _seconds(value: Any) -> float:
    return _number(value, "must be a time in seconds since 1970", 0)


def _timeout(value: Any) -> float:
    if value == 0 and not isinstance(value, bool):
        raise WrongValue("must be a number of seconds above 0")
    return _number(value, "must be a number of seconds above 0", 0)


def _count(value: Any) -> int:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(_number(value, "must be a whole number, 0 or more", 0))
    raise WrongValue("must be a whole number, 0 or more")


def _schema(value: Any) -> int:
    if _count(value) > SCHEMA:
        raise WrongValue(f"must be {SCHEMA} or lower for this aiframe; a newer one wrote this file: update aiframe")
    return SCHEMA


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise WrongValue("must be an object or null")


def _items(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, list):
        raise WrongValue("must be a list of task ids")
    return tuple(_item(item) for item in value)


def _item(value: Any) -> str:
    if isinstance(value, dict) and "id" in value:
        value = value["id"]
    try:
        return _text(value)
    except WrongValue:
        raise WrongValue("must be a list of task ids") from None
