"""The Messages API, as far as claude needs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from support.model_replies import TOKENS, Failed, Look, Refusal, Said, Shell, Streamed, Text, Write
from support.wires import Body, Wire, objects, text_in

ANSWER_TOOL = "StructuredOutput"
"""By this tool of its own claude takes an answer that has to fit a schema."""

USAGE = {
    "input_tokens": TOKENS["input"] - TOKENS["cached"],
    "cache_read_input_tokens": TOKENS["cached"],
    "cache_creation_input_tokens": 0,
}
ANSWERED = {
    "output_tokens": TOKENS["output"],
    "output_tokens_details": {"thinking_tokens": TOKENS["reasoning"]},
}


def _prompt(body: Body) -> str:
    texts = [text_in(item.get("content")) for item in objects(body.get("messages")) if item.get("role") == "user"]
    return next((text for text in reversed(texts) if text), "")


def _tool_outputs(body: Body) -> list[str]:
    parts = [part for item in objects(body.get("messages")) for part in objects(item.get("content"))]
    return [text_in(part.get("content")) for part in parts if part.get("type") == "tool_result"]


def _stream(reply: Streamed, number: int, body: Body) -> Iterator[bytes]:
    for event in _events(reply, number, body):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _events(reply: Streamed, number: int, body: Body) -> Iterator[Mapping[str, Any]]:
    message = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": body.get("model", ""), "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {**USAGE, "output_tokens": 1},
    }  # fmt: skip
    yield {"type": "message_start", "message": message}
    match reply:
        case Failed(code, told):
            yield {"type": "error", "error": {"type": code, "message": told}}
        case Text() | Refusal() | Shell() | Write() | Look():
            block, delta, reason = _block(reply, number, body)
            yield {"type": "content_block_start", "index": 0, "content_block": block}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
            yield {"type": "content_block_stop", "index": 0}
            stop = {"stop_reason": reason, "stop_sequence": None}
            yield {"type": "message_delta", "delta": stop, "usage": {**USAGE, **ANSWERED}}
            yield {"type": "message_stop"}


def _block(reply: Said, number: int, body: Body) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """The block as it begins, what comes then, and why the turn stops."""
    match reply:
        case Text(text) if answer := _answer(text, body):
            return _use(number, ANSWER_TOOL, answer)
        case Text(text) | Refusal(text):
            reason = "refusal" if isinstance(reply, Refusal) else "end_turn"
            return {"type": "text", "text": ""}, {"type": "text_delta", "text": text}, reason
        case Shell(command):
            return _use(number, "Bash", {"command": command, "description": "work"})
        case Look(path):
            return _use(number, "Read", {"file_path": path})
        case Write(path, text):
            return _use(number, "Write", {"file_path": path, "content": text})


def _answer(text: str, body: Body) -> Mapping[str, Any] | None:
    """The JSON object that *text* is, where the client offers the tool for it."""
    if not any(tool.get("name") == ANSWER_TOOL for tool in objects(body.get("tools"))):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _use(number: int, name: str, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    block = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
    return block, {"type": "input_json_delta", "partial_json": json.dumps(given)}, "tool_use"


MESSAGES = Wire("/messages", _prompt, _tool_outputs, _stream)
