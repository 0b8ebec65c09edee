"""The closing block: the JSON object that a step ends with, its schema, and our own check of it.

The CLI's word that an answer fits the schema is not taken: text that is no JSON comes through with exit code 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiframe.agents.lines import json_object, plain
from aiframe.core.model import Role, State
from aiframe.core.verdict import MAY_PROPOSE

_FENCED = re.compile(r"^[ \t]*```[ \t]*json[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXTS: Mapping[str, Any] = {"type": "array", "items": _TEXT}
_AUDIT: Mapping[str, Any] = {
    "approved": {"type": "boolean", "description": "Whether the work may be kept as it is."},
    "findings": {**_TEXTS, "description": "What has to be mended, each with its place; none where it is approved."},
}


def closing_schema(role: Role) -> dict[str, Any]:
    """The JSON Schema of *role*'s closing block, strict: every property required, nothing else allowed."""
    if role is Role.AUDIT:
        return _strict(_AUDIT)
    properties: dict[str, Any] = {
        "summary": {**_TEXT, "description": "What was done, in a few sentences."},
        "state": {
            "type": ["string", "null"],
            "enum": [*_states(role), None],
            "description": "The state to go to next; null leaves it to the frame.",
        },
        "question": {**_question_schema(), "description": "One question that a person has to answer first, or null."},
    }
    if role is Role.DEV:
        properties["reason"] = {**_TEXT, "description": "Why the state is ERROR; else empty."}
        properties["review_items"] = {**_TEXTS, "description": "What a person should look at."}
    if role is Role.DIAGNOSE:
        properties["diagnosis"] = {**_TEXT, "description": "Why the step failed, and what will help."}
        properties["timeout_sec"] = {
            "type": ["integer", "null"],
            "description": "A longer timeout in seconds, or null.",
        }
    return _strict(properties)


def _states(role: Role) -> list[str]:
    return [state.value for state in State if state in MAY_PROPOSE[role]]


def _question_schema() -> dict[str, Any]:
    return {**_strict({"text": _TEXT, "choices": _TEXTS, "default": _TEXT}), "type": ["object", "null"]}


def _strict(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_closing(text: str, role: Role) -> tuple[Mapping[str, Any] | None, str]:
    """The closing block in *text*, checked and complete; or None and the exact complaint."""
    found = find_closing(text)
    if found is None:
        shown = plain(text, 200).strip().replace("\n", " ")
        return (
            None,
            f"the answer must end with one JSON object, but it was: {shown!r}" if shown else "the answer was empty",
        )
    return check_closing(found, role)


def find_closing(text: str) -> Mapping[str, Any] | None:
    """The JSON object that *text* is, or that its last ```json block or last line that is an object holds."""
    fenced = _FENCED.findall(text)
    lines = (line for line in reversed(text.splitlines()) if line.lstrip().startswith("{"))
    candidates = (text.strip(), *fenced[-1:], *(line.strip() for line in lines))
    return next((found for found in map(json_object, candidates) if found is not None), None)


def check_closing(found: Mapping[str, Any], role: Role) -> tuple[Mapping[str, Any] | None, str]:
    """*found* with every field of *role*'s block in it; or None and all that does not fit.

    Only ``summary`` must be there, and of an audit ``approved``: what else is missing counts as empty.
    """
    given: dict[str, Any] = {**_empty(role), **found}
    known = closing_schema(role)["properties"]
    wrong = [f"{plain(str(name), 60)!r} is no field of it" for name in given if name not in known]
    wrong += [complaint for name in known if (complaint := _complaint(name, given.get(name), role))]
    if wrong:
        return None, "the closing JSON object does not fit: " + "; ".join(wrong[:10])
    return _clean(given), ""


def _empty(role: Role) -> dict[str, Any]:
    if role is Role.AUDIT:
        return {"findings": []}
    fields: dict[str, Any] = {"state": None, "question": None}
    if role is Role.DEV:
        fields |= {"reason": "", "review_items": []}
    if role is Role.DIAGNOSE:
        fields |= {"diagnosis": "", "timeout_sec": None}
    return fields


def _complaint(name: str, value: Any, role: Role) -> str:
    match name:
        case "state":
            allowed = _states(role)
            return "" if value is None or value in allowed else f"state must be one of {', '.join(allowed)} or null"
        case "question":
            return "" if value is None else _question_complaint(value)
        case "timeout_sec":
            right = value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**7)
            return "" if right else "timeout_sec must be a whole number of seconds or null"
        case "approved":
            return "" if isinstance(value, bool) else "approved must be true or false"
        case "review_items" | "findings":
            return "" if _is_texts(value) else f"{name} must be a list of texts"
        case _:
            return "" if isinstance(value, str) else f"{name} must be text"


def _question_complaint(value: Any) -> str:
    if not isinstance(value, dict) or not set(value) <= {"text", "choices", "default"}:
        return "question must be null or an object with text, choices and default"
    if not isinstance(value.get("text"), str) or not value["text"].strip():
        return "question.text must be text"
    if not _is_texts(value.get("choices") or []):
        return "question.choices must be a list of texts"
    return "" if isinstance(value.get("default") or "", str) else "question.default must be text"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """The block with plain texts alone, and a question with all its fields."""
    clean = {name: _plain_value(value) for name, value in given.items()}
    if clean.get("question") is not None:
        question = clean["question"]
        clean["question"] = {
            "text": question["text"],
            "choices": question.get("choices") or [],
            "default": question.get("default") or "",
        }
    return clean


def _plain_value(value: Any) -> Any:
    match value:
        case str():
            return plain(value)
        case list():
            return [_plain_value(item) for item in value]
        case dict():
            return {name: _plain_value(item) for name, item in value.items()}
        case _:
            return value
