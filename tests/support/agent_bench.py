"""A place where an agent does one step: a workspace, private homes for the real CLIs, and a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout
from msgspec.structs import replace

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.core.model import Role
from aiframe.core.ports import AgentRequest
from aiframe.process import Limits
from support.agent_run import Ran, run_supervised
from support.cli_homes import claude_account, claude_home, opencode_home
from support.codex_home import codex_home
from support.model_server import Asked, ModelServer, Reply, Shell
from support.netns import Loopback, loopback

PATIENT = Limits(timeout_s=90, stall_s=90, term_grace_s=2, linger_s=1, poll_s=0.1)
HOMES = {"codex": codex_home, "claude": claude_home, "opencode": opencode_home}
ACCOUNTS = {**HOMES, "claude": claude_account}
"""Homes that are logged in with a subscription, where that makes a difference."""

MARK = "MARK"
SLOTS = 2
"""How many opencode may run at once: each takes 660 MB."""


@dataclass(frozen=True)
class Bench:
    """Where one test's agents work. *mark* is a time for `sleep` that no other process has: it stands for MARK in the
    commands of a script, so that what they leave behind can be found."""

    folder: Path
    net: Loopback
    request: AgentRequest
    slots: Path
    mark: str = field(default_factory=lambda: f"{600 + uuid.uuid4().int % 10**9 / 10**6:.6f}")

    @property
    def workspace(self) -> Path:
        """Where the agents work."""
        return Path(self.request.workspace)

    def model(self, replies: Sequence[Reply]) -> ModelServer:
        """A model that plays *replies*, for the CLIs in this network."""
        marked = [Shell(self._marked(reply.command)) if isinstance(reply, Shell) else reply for reply in replies]
        return ModelServer(marked, self.net.listener.dup())

    def cli(
        self, name: str, program: Path | str, replies: Sequence[Reply], *, request: AgentRequest | None = None,
        limits: Limits = PATIENT, stop_at: str = "", account: bool = False, **options: Any,
    ) -> tuple[Ran, tuple[Asked, ...]]:  # fmt: skip
        """One step of the CLI *name*, whose model plays *replies*; it is stopped once the file *stop_at* is there."""
        with self.model(replies) as server, slot(name, self.slots):
            env = (ACCOUNTS if account else HOMES)[name](self.folder, server.url)
            step = replace(request or self.request, options={"program": str(program), **options})
            return self._run(name, step, env, limits, stop_at), server.asked

    def command(self, line: str, limits: Limits = PATIENT, stop_at: str = "") -> Ran:
        """One step of a command agent that is the shell line *line*; an empty one is a program that is not there."""
        argv = ["sh", "-c", f"cat > /dev/null; {self._marked(line)}"] if line else ["/nowhere/to/be/found"]
        options = {"argv": argv, "exit_codes": {77: "quota", 78: "auth"}}
        return self._run("command", replace(self.request, options=options), {}, limits, stop_at)

    def turn(self, turn: Mapping[str, Any], limits: Limits = PATIENT, stop_at: str = "") -> Ran:
        """One step of the scripted agent that plays *turn*."""
        script = self.folder / "script.yaml"
        script.write_text(self._marked(json.dumps({"version": 1, "turns": [{"role": "DEV", **turn}]})))
        return self._run("scripted", replace(self.request, options={"file": str(script)}), {}, limits, stop_at)

    def left(self) -> list[str]:
        """Commands with this test's mark that are still running."""
        said = subprocess.run(["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=True).stdout
        return [line for line in said.splitlines() if self.mark in line]

    def _run(self, name: str, request: AgentRequest, env: Mapping[str, str], limits: Limits, stop_at: str) -> Ran:
        # `env` alone as the prefix: a program that is missing then ends with 127 everywhere.
        prefix = self.net.prefix or ("env",)
        environ = env or {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        stops = self.workspace / (stop_at or "never")
        return run_supervised(
            find_agent(name, request.options), request, limits, environ, prefix, should_stop=stops.exists
        )

    def _marked(self, text: str) -> str:
        return text.replace(MARK, self.mark)


@contextmanager
def slot(name: str, folder: Path) -> Iterator[None]:
    """The leave to run the CLI *name*, for all tests that share *folder*: opencode waits for its turn."""
    if name != "opencode":
        yield
        return
    number = 0
    while True:
        lock = FileLock(folder / f"opencode-{number}.lock")
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            number = (number + 1) % SLOTS
    try:
        yield
    finally:
        lock.release()


def shared_folder(base: Path) -> Path:
    """The folder that all workers of a test run share, where *base* is that of this worker."""
    return base.parent if base.name.startswith("popen-") else base


@contextmanager
def bench_in(folder: Path, slots: Path) -> Iterator[Bench]:
    """A bench in *folder*; *slots* is a folder that all tests share."""
    workspace = folder / "workspace"
    workspace.mkdir()
    subprocess.run(["git", "init", "-q", str(workspace)], check=True)
    request = AgentRequest(
        prompt="build it", role=Role.DEV, workspace=PurePath(workspace), run_dir=PurePath(folder / "run"),
        task_id="T1", schema=closing_schema(Role.DEV),
    )  # fmt: skip
    with loopback() as net:
        yield Bench(folder, net, request, slots)


def lingering(folder: Path, program: Path) -> Path:
    """A program that does what *program* does and then does not end."""
    path = folder / "lingering"
    path.write_text(f'#!/bin/sh\n"{program}" "$@"\nexec sleep 600\n')
    path.chmod(0o755)
    return path
