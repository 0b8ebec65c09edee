"""Runs an agent's command: plainly (files, start, standard input, lines, answer), or under the product's supervisor."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from aiframe.core.ports import Agent, AgentRequest, Answer, EndReason, Exit
from aiframe.process import Limits, carriers, never, supervise


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


def run_supervised(
    agent: Agent,
    request: AgentRequest,
    limits: Limits,
    env: Mapping[str, str],
    prefix: tuple[str, ...] = (),
    should_stop: Callable[[], bool] = never,
) -> Ran:
    """The same under the supervisor that the product uses: its limits hold, and nothing of the run is left after it."""
    command, reader = agent.command(request), agent.reader(request)
    Path(request.run_dir).mkdir(parents=True, exist_ok=True)
    for name, text in command.files.items():
        Path(request.run_dir, name).write_text(text, encoding="utf-8")
    raw, held, errors = bytearray(), bytearray(), bytearray()
    log: list[str] = []

    def take(chunk: bytes) -> None:
        raw.extend(chunk)
        held.extend(chunk)
        *lines, rest = held.split(b"\n")
        held[:] = rest
        log.extend(reader.feed(line.decode("utf-8", "replace")) for line in lines)

    run_id = uuid.uuid4().hex
    ended = supervise(
        replace(command, argv=(*prefix, *command.argv)), run_id=run_id, limits=limits, on_stdout=take,
        on_stderr=errors.extend, beat=lambda: None, fingerprint=lambda: None, complete=lambda: reader.complete,
        should_stop=should_stop, env_base=env,
    )  # fmt: skip
    if held:
        log.append(reader.feed(held.decode("utf-8", "replace")))
    assert not carriers(run_id)
    shown = "\n".join(filter(None, log))
    return Ran(reader.finish(ended), shown, raw.decode("utf-8", "replace"), ended, reader.complete)
