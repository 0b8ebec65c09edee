"""One shell line in a sandbox, started and ended the way gates do it."""

from __future__ import annotations

import uuid
from pathlib import Path

from msgspec.structs import replace

from aiframe.core.ports import Command, Exit, Policy, Sandbox
from aiframe.process import Limits, supervise
from support.projects import Ran


def run_in(sandbox: Sandbox, policy: Policy, line: str, *, timeout_s: float = 60, **env: str) -> Ran:
    """How *line* ended, and what it printed."""
    ended, out, err = supervised(sandbox, policy, line, timeout_s=timeout_s, **env)
    return Ran(ended.code, out, err)


def supervised(
    sandbox: Sandbox, policy: Policy, line: str, *, timeout_s: float = 60, **env: str
) -> tuple[Exit, str, str]:
    """The same, with all that the supervisor says of the ending."""
    policy = replace(policy, run_id=f"test-{uuid.uuid4().hex[:8]}")
    out, err = bytearray(), bytearray()
    command = sandbox.wrap(Command(("/bin/sh", "-c", line), policy.workspace, env=env), policy)
    try:
        ended = supervise(
            command, run_id=policy.run_id, limits=Limits(timeout_s=timeout_s, stall_s=0, term_grace_s=1),
            on_stdout=out.extend, on_stderr=err.extend, beat=lambda: None, fingerprint=lambda: None,
            env_base=sandbox.environment(),
        )  # fmt: skip
    finally:
        sandbox.clean(policy)
    return ended, out.decode(errors="replace"), err.decode(errors="replace")


def folder(path: Path) -> Path:
    """The folder *path*, made where there is none."""
    path.mkdir(parents=True, exist_ok=True)
    return path
