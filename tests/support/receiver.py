"""Where notices go in tests: a real HTTP server on loopback, one that never answers, and one that is not there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Receiver:
    """What has arrived so far at *port*."""

    port: int
    got: list[dict[str, Any]] = field(default_factory=list)

    def address(self, rest: str = "") -> str:
        """Its address as apprise writes it."""
        return f"json://127.0.0.1:{self.port}/{rest}"


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A server that takes every notice."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield Receiver(server.server_address[1], got)
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def silent() -> Iterator[Receiver]:
    """A server that lets everybody in, and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield Receiver(listening.getsockname()[1])


def absent() -> Receiver:
    """The address of a server that is not there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return Receiver(listening.getsockname()[1])
