"""A scripted model on 127.0.0.1: what a coding-agent CLI talks to in the tests instead of a paid service.

It speaks the Responses, Messages and Chat Completions APIs, as far as codex, claude and opencode need them. A script
says what each request gets: a list of replies, played one by one (the last one stays), or a function from the request
to a reply. The same script does for all three.

    with ModelServer([shell("echo hi > hi.txt"), Text('{"summary": "done"}')]) as server:
        ... run codex with base_url = server.url ...
        server.asked[0].prompt
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from support.model_replies import (
    Cut,
    Failed,
    Garbage,
    Look,
    Refusal,
    Reply,
    Shell,
    Silent,
    Status,
    Streamed,
    Text,
    Write,
    api_error,
    patch,
    shell,
)
from support.wires import Wire
from support.wires.chat import CHAT
from support.wires.messages import MESSAGES
from support.wires.responses import RESPONSES

__all__ = [
    "Asked", "Cut", "Failed", "Garbage", "Look", "ModelServer", "Refusal", "Reply", "Script", "Shell", "Silent",
    "Status", "Text", "Write", "api_error", "listen", "patch", "shell",
]  # fmt: skip

WIRES = (RESPONSES, MESSAGES, CHAT)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the server was sent."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    wire: Wire

    @property
    def prompt(self) -> str:
        """The text of the last message that a user sent."""
        return self.wire.prompt(self.body)

    @property
    def tool_outputs(self) -> tuple[str, ...]:
        """What the tool calls of this conversation gave, the oldest first."""
        return tuple(self.wire.tool_outputs(self.body))


Script: TypeAlias = Sequence[Reply] | Callable[[Asked], Reply]


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
        path = urlsplit(self.path).path.rstrip("/")
        wire = next((wire for wire in WIRES if path.endswith(wire.path)), None)
        if wire is None:
            self._send(404, b"{}")
            return
        asked = Asked(self.path, dict(self.headers.items()), json.loads(raw), wire)
        match self.server.owner.reply_to(asked):
            case Status(code, body, headers):
                kind = {"type": "error"} if wire is MESSAGES else {}
                self._send(code, json.dumps({**kind, **body}).encode(), headers)
            case Garbage(text):
                self._send(200, text.encode())
            case reply:
                self._stream(reply, asked)

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

    def _stream(self, reply: Streamed, asked: Asked) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in asked.wire.stream(reply, len(self.server.owner.asked), asked.body):
            self.wfile.write(piece)
            self.wfile.flush()
        while isinstance(reply, Silent) and not self.server.owner.wait_closed(0.05):
            pass
