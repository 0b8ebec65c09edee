"""Events of codex as lines that a person can read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from aiframe.agents.lines import count_of, object_of, text_of
from aiframe.agents.shown import shortened


def readable(event: Mapping[str, Any]) -> str:
    """What *event* says, for the log; empty for an event that says nothing to a person."""
    match event.get("type"):
        case "thread.started":
            return f"session {text_of(event.get('thread_id'))[:200]}"
        case "item.started":
            return _started(object_of(event.get("item")))
        case "item.completed":
            return _completed(object_of(event.get("item")))
        case "turn.completed":
            usage = object_of(event.get("usage"))
            said = f"{count_of(usage.get('input_tokens'))} in, {count_of(usage.get('output_tokens'))} out"
            return f"turn completed; tokens: {said}"
        case "error":
            return f"error: {text_of(event.get('message'))}"
        case "turn.failed":
            return f"turn failed: {text_of(object_of(event.get('error')).get('message'))}"
        case _:
            return ""


def kind_of(event: Mapping[str, Any]) -> str:
    """What sort of thing *event* is, for the log."""
    item = object_of(event.get("item")).get("type")
    match event.get("type"), item:
        case "error" | "turn.failed", _:
            return "error"
        case _, "error":
            return "error"
        case _, "agent_message" | "reasoning" | "todo_list":
            return "message"
        case "item.completed", "command_execution":
            return "tool_result"
        case _, "command_execution" | "web_search" | "mcp_tool_call" | "file_change":
            return "tool_call"
        case _:
            return "output"


def _started(item: Mapping[str, Any]) -> str:
    match item.get("type"):
        case "command_execution":
            return f"$ {shown_command(text_of(item.get('command')))}"
        case "web_search":
            return f"web search: {text_of(item.get('query'))}"
        case "mcp_tool_call":
            return f"tool {text_of(item.get('server'))} {text_of(item.get('tool'))}"
        case _:
            return ""


def _completed(item: Mapping[str, Any]) -> str:
    match item.get("type"):
        case "agent_message" | "reasoning":
            return text_of(item.get("text"))
        case "command_execution":
            return _command_result(item)
        case "file_change":
            changes = item.get("changes")
            named = [object_of(change) for change in changes] if isinstance(changes, list) else []
            return "\n".join(f"{text_of(change.get('kind'))} {text_of(change.get('path'))}" for change in named[:200])
        case "todo_list":
            items = item.get("items")
            todo = [object_of(entry) for entry in items] if isinstance(items, list) else []
            return "\n".join(f"[{'x' if e.get('completed') else ' '}] {text_of(e.get('text'))}" for e in todo[:200])
        case "error":
            return f"note: {text_of(item.get('message'))}"
        case _:
            return ""


def _command_result(item: Mapping[str, Any]) -> str:
    output = item.get("aggregated_output")
    tail = shortened(output if isinstance(output, str) else "")
    code = item.get("exit_code")
    status = f"exit code {code}" if isinstance(code, int) else text_of(item.get("status"))
    return f"{tail}\n[{status}]" if tail else f"[{status}]"


def shown_command(command: str) -> str:
    """*command* without the shell that codex wraps it in."""
    try:
        words = shlex.split(command) if len(command) < 10_000 else []
    except ValueError:
        words = []
    if len(words) == 3 and words[0].endswith("sh") and words[1] in ("-c", "-lc"):
        return words[2]
    return command
