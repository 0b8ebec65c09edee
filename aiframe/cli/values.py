"""The ``KEY=VALUE`` words of `aiframe set`: settings of STATE.json, with their types and ranges."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

from aiframe.cli.table import SETTINGS
from aiframe.core.errors import UsageError

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_LONGEST_S = 7 * 86_400
_MOST_TASKS = 10_000


def parse_values(words: Sequence[str]) -> dict[str, object]:
    """The settings that *words* name. Raises UsageError for one that is unknown, or whose value will not do."""
    values: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name, text = name.strip(), text.strip()
        if name not in _READ:
            close = difflib.get_close_matches(name, SETTINGS, 1)
            cure = f"did you mean {close[0]}?" if close else f"settings: {', '.join(SETTINGS)}"
            raise UsageError(f"there is no setting {name!r}", hint=cure)
        if not equals:
            raise UsageError(f"{name} has no value", hint=f"write {name}=VALUE, without blanks around the =")
        values[name] = _READ[name](name, text)
    return values


def _flag(name: str, text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise UsageError(f"{name} must be true or false, not {text!r}", hint=f"aiframe set {name}=true")


def _count(name: str, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= _MOST_TASKS:
        return int(text)
    cure = f"aiframe set {name}=5 (0: no review but the last one)"
    raise UsageError(f"{name} must be a whole number from 0 to {_MOST_TASKS}, not {text!r}", hint=cure)


def _timeout(name: str, text: str) -> float:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) and 0 < float(text) <= _LONGEST_S:
        return float(text) if "." in text else int(text)
    cure = f"aiframe set {name}=1800"
    raise UsageError(f"{name} must be a number of seconds above 0, at most {_LONGEST_S}, not {text!r}", hint=cure)


_READ: dict[str, Callable[[str, str], object]] = {
    "interactive_mode": _flag,
    "plan_locked": _flag,
    "review_every_n_tasks": _count,
    "require_confirmations": _flag,
    "timeout_sec": _timeout,
}
