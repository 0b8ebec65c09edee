"""Runs an agent's command as the product does, but plainly: files, start, standard input, lines, answer."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiframe.core.ports import Agent, AgentRequest, Answer, EndReason, Exit


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it: the answer, the readable log, the raw output, and how the process ended."""

    answer: Answer
    log: str
    raw: str
    ended: Exit
    complete: bool


def run_agent(
    agent: Agent,
    request: AgentRequest,
    env: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    timeout_s: float = 60,
) -> Ran:
    """Start the command of *agent* for *request* with *prefix* before it, and wait; killed at *timeout_s* (seconds)."""
    command, reader = agent.command(request), agent.reader(request)
    Path(request.run_dir).mkdir(parents=True, exist_ok=True)
    for name, text in command.files.items():
        Path(request.run_dir, name).write_text(text, encoding="utf-8")
    started, reason = time.monotonic(), "exit"
    environment = {**(os.environ if env is None else env), **command.env}
    with subprocess.Popen(
        [*prefix, *command.argv],
        cwd=command.cwd,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            out, err = process.communicate(command.stdin.encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            reason = "timeout"
    raw = out.decode("utf-8", "replace")
    log = "\n".join(shown for line in raw.splitlines() if (shown := reader.feed(line)))
    ended = Exit(process.returncode, _reason(reason), err.decode("utf-8", "replace"), time.monotonic() - started)
    return Ran(reader.finish(ended), log, raw, ended, reader.complete)


def _reason(name: str) -> EndReason:
    return "timeout" if name == "timeout" else "exit"
