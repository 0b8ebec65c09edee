"""Lines of an agent's output: made safe to keep and to show, whatever bytes they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_LINE = 4 * 1024 * 1024
"""Characters of a line that are looked at; a longer line is taken as no JSON."""

MAX_TEXT = 1024 * 1024
"""Characters kept of one text of an agent's."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """*text* without escape sequences, control characters and lone surrogates, at most *limit* characters of it."""
    return _CONTROLS.sub("", _ESCAPES.sub("", clip(text, limit)))


def clip(text: str, limit: int) -> str:
    """The beginning of *text*; what was left out is counted at its end."""
    return text if len(text) <= limit else f"{text[:limit]}\n[{len(text) - limit} more characters]"


def json_object(line: str) -> Mapping[str, Any] | None:
    """The JSON object that *line* is, or None."""
    if len(line) > MAX_LINE or line.lstrip()[:1] != "{":
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(value: Any) -> str:
    """*value* where it is text, made plain; else empty."""
    return plain(value) if isinstance(value, str) else ""


def count_of(value: Any) -> int:
    """*value* where it is a count; else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def amount_of(value: Any) -> float | None:
    """*value* where it is a number of zero or more that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return float(value)


def object_of(value: Any) -> Mapping[str, Any]:
    """*value* where it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[Mapping[str, Any]]:
    """The JSON objects in *value* where it is a list; else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
