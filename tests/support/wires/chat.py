"""Chat Completions, as far as opencode needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from support.model_replies import TOKENS, Cut, Failed, Look, Refusal, Shell, Silent, Streamed, Text, Write
from support.wires import Body, Wire, objects, text_in

USAGE = {
    "prompt_tokens": TOKENS["input"],
    "prompt_tokens_details": {"cached_tokens": TOKENS["cached"]},
    "completion_tokens": TOKENS["output"],
    "completion_tokens_details": {"reasoning_tokens": TOKENS["reasoning"]},
    "total_tokens": TOKENS["input"] + TOKENS["output"],
}


def _prompt(body: Body) -> str:
    texts = [text_in(item.get("content")) for item in objects(body.get("messages")) if item.get("role") == "user"]
    return texts[-1] if texts else ""


def _tool_outputs(body: Body) -> list[str]:
    return [text_in(item.get("content")) for item in objects(body.get("messages")) if item.get("role") == "tool"]


def _stream(reply: Streamed, number: int, body: Body) -> Iterator[bytes]:
    head = {"id": f"chat_{number}", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "")}
    for chunk in _chunks(reply, number):
        yield f"data: {json.dumps(chunk if 'error' in chunk else {**head, **chunk})}\n\n".encode()
    if not isinstance(reply, Failed | Cut | Silent):
        yield b"data: [DONE]\n\n"


def _chunks(reply: Streamed, number: int) -> Iterator[Mapping[str, Any]]:
    yield _choice({"role": "assistant", "content": ""})
    match reply:
        case Failed(code, message):
            yield {"error": {"code": code, "type": code, "message": message}}
        case Text(text):
            yield _choice({"content": text})
            yield {**_choice({}, "stop"), "usage": USAGE}
        case Refusal(text):
            yield _choice({"refusal": text})
            yield {**_choice({}, "content_filter"), "usage": USAGE}
        case Shell(command):
            yield _call(number, "bash", {"command": command, "description": "work"})
            yield {**_choice({}, "tool_calls"), "usage": USAGE}
        case Look(path):
            yield _call(number, "read", {"filePath": path})
            yield {**_choice({}, "tool_calls"), "usage": USAGE}
        case Write(path, text):
            yield _call(number, "write", {"filePath": path, "content": text})
            yield {**_choice({}, "tool_calls"), "usage": USAGE}


def _choice(delta: Mapping[str, Any], reason: str | None = None) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _call(number: int, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return _choice({"tool_calls": [{"index": 0, "id": f"call_{number}", "type": "function", "function": function}]})


CHAT = Wire("/chat/completions", _prompt, _tool_outputs, _stream)
