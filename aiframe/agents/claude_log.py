"""Events of claude as lines that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiframe.agents.lines import amount_of, object_of, objects_of, text_of
from aiframe.agents.shown import shortened

ANSWER_TOOL = "StructuredOutput"
"""By this tool claude takes the answer that has to fit a schema."""

_SUBJECTS = ("file_path", "notebook_path", "pattern", "path", "url", "query", "description", "skill")


def readable(event: Mapping[str, Any]) -> str:
    """What *event* says, for the log; empty for an event that says nothing to a person."""
    match event.get("type"):
        case "system":
            return _system(event)
        case "assistant":
            return "\n".join(filter(None, (_said(part) for part in parts_of(event))))
        case "user":
            return "\n".join(filter(None, (_result(part) for part in parts_of(event))))
        case "rate_limit_event":
            info = object_of(event.get("rate_limit_info"))
            return "the service rejects requests for now" if info.get("status") == "rejected" else ""
        case "result":
            return _ending(event)
        case _:
            return ""


def kind_of(event: Mapping[str, Any]) -> str:
    """What sort of thing *event* is, for the log."""
    match event.get("type"):
        case "assistant":
            return "tool_call" if any(part.get("type") == "tool_use" for part in parts_of(event)) else "message"
        case "user":
            return "tool_result"
        case "system" if event.get("subtype") == "api_retry":
            return "error"
        case "result" if event.get("is_error") is True:
            return "error"
        case _:
            return "output"


def parts_of(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of the message in *event*."""
    return objects_of(object_of(event.get("message")).get("content"))[:200]


def _system(event: Mapping[str, Any]) -> str:
    match event.get("subtype"):
        case "init":
            return f"session {text_of(event.get('session_id'))[:200]}, model {text_of(event.get('model'))[:200]}"
        case "api_retry":
            wait = (amount_of(event.get("retry_delay_ms")) or 0.0) / 1000
            return f"error: {text_of(event.get('error'))[:200]}; tries again in {wait:.1f} s"
        case "informational":
            return text_of(event.get("content"))
        case _:
            return ""


def _said(part: Mapping[str, Any]) -> str:
    match part.get("type"):
        case "text":
            return text_of(part.get("text"))
        case "tool_use":
            given = object_of(part.get("input"))
            if part.get("name") == "Bash":
                return f"$ {text_of(given.get('command'))}"
            if part.get("name") == ANSWER_TOOL:
                return text_of(given.get("summary"))
            subject = next((text_of(given[key]) for key in _SUBJECTS if isinstance(given.get(key), str)), "")
            return f"{text_of(part.get('name'))[:200]} {subject[:2000]}".rstrip()
        case _:
            return ""


def _result(part: Mapping[str, Any]) -> str:
    """What a tool gave back: the last part of it."""
    if part.get("type") != "tool_result":
        return ""
    output = shortened("\n".join(_texts(part.get("content"))))
    return f"{output}\n[failed]".lstrip("\n") if part.get("is_error") is True else output


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in objects_of(content):
        if isinstance(part.get("text"), str):
            yield part["text"]


def _ending(event: Mapping[str, Any]) -> str:
    cost = amount_of(event.get("total_cost_usd"))
    told = f"; ${cost:.4f} so far in this session" if cost else ""
    if event.get("is_error") is True:
        return f"failed: {text_of(event.get('result')) or text_of(event.get('subtype'))}{told}"
    return f"turn completed{told}"
