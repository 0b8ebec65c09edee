"""A scripted model on 127.0.0.1: what a coding-agent CLI talks to in the tests instead of a paid service.

It speaks the Responses API over server-sent events, as far as the codex CLI needs it. A script says what each request
gets: a list of replies, played one by one (the last one stays), or a function from the request to a reply.

    with ModelServer([shell("echo hi > hi.txt"), Text('{"summary": "done"}')]) as server:
        ... run codex with base_url = server.url ...
        server.asked[0].prompt
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 120,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the server was sent."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """The text of the last message that a user sent."""
        texts = [_text_of(item) for item in self._input() if item.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def tool_outputs(self) -> tuple[str, ...]:
        """What the tool calls of this conversation gave, the oldest first."""
        return tuple(
            item["output"] if isinstance(item["output"], str) else json.dumps(item["output"])
            for item in self._input()
            if "output" in item
        )

    def _input(self) -> list[Mapping[str, Any]]:
        items = self.body.get("input", [])
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _text_of(item: Mapping[str, Any]) -> str:
    content = item.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))


@dataclass(frozen=True, slots=True)
class Text:
    """The model says *text* and ends its turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """The model calls a tool."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP status other than 200, with a JSON body."""

    code: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A stream that begins well and then says ``response.failed`` with this code and message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream whose connection ends before the response is complete."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A stream that begins and then says nothing until the server is closed or the client leaves."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A body that is neither events nor JSON, with status 200."""

    text: str


Reply: TypeAlias = Text | Call | Status | Failed | Cut | Silent | Garbage
Script: TypeAlias = Sequence[Reply] | Callable[[Asked], Reply]


def shell(command: str) -> Call:
    """The model runs *command* in the workspace."""
    return Call("exec_command", {"cmd": command})


def patch(path: str, text: str) -> Call:
    """The model adds the file *path* with *text* by the CLI's own patch tool."""
    added = "".join(f"+{line}\n" for line in text.splitlines())
    return shell(f"apply_patch <<'PATCH'\n*** Begin Patch\n*** Add File: {path}\n{added}*** End Patch\nPATCH\n")


def api_error(code: int, kind: str, message: str, **more: Any) -> Status:
    """The body that the service sends with an error status."""
    return Status(code, {"error": {"type": kind, "code": kind, "message": message, **more}})


class ModelServer:
    """Serves the script in threads of this process until closed. *listener* may come from another network namespace."""

    def __init__(self, script: Script, listener: socket.socket | None = None) -> None:
        self._script = script
        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _http_server(self, listener or listen())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The base address, as a client's configuration wants it."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The requests so far."""
        with self._lock:
            return tuple(self._asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every open stream and the server."""
        self._closing.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def reply_to(self, asked: Asked) -> Reply:
        """What the script says to *asked*."""
        with self._lock:
            count = len(self._asked)
            self._asked.append(asked)
        if callable(self._script):
            return self._script(asked)
        return self._script[min(count, len(self._script) - 1)]

    def wait_closed(self, seconds: float) -> bool:
        """Wait up to *seconds* for the end of the server; whether it has come."""
        return self._closing.wait(seconds)


def listen() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.listen(16)
    return listener


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left in mid-stream is no error of the server's."""


def _http_server(owner: ModelServer, listener: socket.socket) -> _Server:
    server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_address = listener.getsockname()
    server.owner = owner
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        self._send(404, b"{}")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.rstrip("/").endswith("/responses"):
            self._send(404, b"{}")
            return
        reply = self.server.owner.reply_to(Asked(self.path, dict(self.headers.items()), json.loads(raw)))
        match reply:
            case Status(code, body, headers):
                self._send(code, json.dumps(body).encode(), headers)
            case Garbage(text):
                self._send(200, text.encode())
            case _:
                self._stream(reply)

    def _send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in _events(reply, len(self.server.owner.asked)):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        while isinstance(reply, Silent) and not self.server.owner.wait_closed(0.05):
            pass


def _events(reply: Reply, number: int) -> Iterator[Mapping[str, Any]]:
    response: dict[str, Any] = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": response}
    match reply:
        case Failed(code, message):
            error = {"code": code, "message": message}
            yield {"type": "response.failed", "response": {**response, "status": "failed", "error": error}}
        case Text() | Call():
            item = _item(reply, number)
            yield {"type": "response.output_item.added", "output_index": 0, "item": item}
            yield {"type": "response.output_item.done", "output_index": 0, "item": item}
            done = {**response, "status": "completed", "output": [item], "usage": USAGE}
            yield {"type": "response.completed", "response": done}


def _item(reply: Text | Call, number: int) -> Mapping[str, Any]:
    match reply:
        case Text(text):
            part = {"type": "output_text", "text": text, "annotations": []}
            return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]}
        case Call(name, arguments):
            call = {"name": name, "arguments": json.dumps(arguments), "call_id": f"call_{number}"}
            return {"type": "function_call", "id": f"fc_{number}", **call}
