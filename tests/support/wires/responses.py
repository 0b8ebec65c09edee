"""The Responses API, as far as codex needs it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from support.model_replies import TOKENS, Failed, Look, Refusal, Said, Shell, Streamed, Text, Write
from support.wires import Body, Wire, objects, text_in

USAGE = {
    "input_tokens": TOKENS["input"],
    "input_tokens_details": {"cached_tokens": TOKENS["cached"]},
    "output_tokens": TOKENS["output"],
    "output_tokens_details": {"reasoning_tokens": TOKENS["reasoning"]},
    "total_tokens": TOKENS["input"] + TOKENS["output"],
}


def _prompt(body: Body) -> str:
    texts = [text_in(item.get("content")) for item in objects(body.get("input")) if item.get("role") == "user"]
    return texts[-1] if texts else ""


def _tool_outputs(body: Body) -> list[str]:
    outputs = [item["output"] for item in objects(body.get("input")) if "output" in item]
    return [output if isinstance(output, str) else json.dumps(output) for output in outputs]


def _stream(reply: Streamed, number: int, _: Body) -> Iterator[bytes]:
    for event in _events(reply, number):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _events(reply: Streamed, number: int) -> Iterator[Mapping[str, Any]]:
    response: dict[str, Any] = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": response}
    match reply:
        case Failed(code, message):
            error = {"code": code, "message": message}
            yield {"type": "response.failed", "response": {**response, "status": "failed", "error": error}}
        case Text() | Refusal() | Shell() | Write() | Look():
            item = _item(reply, number)
            yield {"type": "response.output_item.added", "output_index": 0, "item": item}
            yield {"type": "response.output_item.done", "output_index": 0, "item": item}
            done = {**response, "status": "completed", "output": [item], "usage": USAGE}
            yield {"type": "response.completed", "response": done}


def _item(reply: Said, number: int) -> Mapping[str, Any]:
    match reply:
        case Text(text):
            return _message(number, {"type": "output_text", "text": text, "annotations": []})
        case Refusal(text):
            return _message(number, {"type": "refusal", "refusal": text})
        case Shell(command):
            return _call(number, command)
        case Look(path):
            return _call(number, f"cat {shlex.quote(path)}")
        case Write(path, text):
            added = "".join(f"+{line}\n" for line in text.splitlines())
            patch = f"*** Begin Patch\n*** Add File: {path}\n{added}*** End Patch\n"
            return _call(number, f"apply_patch <<'PATCH'\n{patch}PATCH\n")


def _message(number: int, part: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]}


def _call(number: int, command: str) -> Mapping[str, Any]:
    call = {"name": "exec_command", "arguments": json.dumps({"cmd": command}), "call_id": f"call_{number}"}
    return {"type": "function_call", "id": f"fc_{number}", **call}


RESPONSES = Wire("/responses", _prompt, _tool_outputs, _stream)
