"""Commands in a container, by the command line of podman or docker: what the image holds, and the workspace.

The image has to be there already. The engine gets the caller's environment, which it may need; the command in the
container gets what is named here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from aiframe.core.errors import AiframeError
from aiframe.core.ports import Command, Exit, Policy
from aiframe.process import capture, cookie
from aiframe.sandbox.environment import PLACES, harmless
from aiframe.sandbox.limits import MIB
from aiframe.sandbox.mounts import shared

LABEL = "aiframe.run"
"""By this label, whose value is the run's id, the containers of a run are found."""

_ENGINE_ERROR = 125
_ALONE = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--security-opt=label=disable", "--read-only")
_CLEAN_WITHIN_S = 30.0


class Container:
    """The adapter. *program* is the path of podman or docker, *environ* the caller's environment."""

    def __init__(self, program: str, image: str, environ: Mapping[str, str]) -> None:
        self._program = program
        self._image = image
        self._environ = environ
        self._podman = Path(program).name == "podman"
        self.name = f"{Path(program).name} {image}"

    def environment(self) -> Mapping[str, str]:
        """The caller's: it is the engine that gets it."""
        return self._environ

    def wrap(self, command: Command, policy: Policy) -> Command:
        """``podman run`` in the foreground, so that output and exit code are the command's. Raises StepError."""
        first, *rest = command.argv
        argv = (
            self._program, "run", "--pull=never", f"--label={LABEL}={policy.run_id}", *_ALONE, *self._user(),
            *(() if policy.network else ("--network=none",)), *_limits(policy),
            *(word for mount in shared(policy) for word in ("--mount", mount.option)),
            f"--workdir={os.path.realpath(command.cwd)}", *self._variables(command, policy),
            f"--entrypoint={first}", self._image, *rest,
        )  # fmt: skip
        return replace(command, argv=argv)

    def binds(self, policy: Policy) -> tuple[str, ...]:
        """The image, every bind, and the limits, which hold for all processes together."""
        return (
            f"the image {self._image} (read-only)",
            *map(str, shared(policy)),
            "network: the engine's own" if policy.network else "network: none",
            f"memory: at most {policy.memory_bytes // MIB} MiB" if policy.memory_bytes else "memory: not limited",
            f"processes: at most {policy.processes}" if policy.processes else "processes: not limited",
        )

    def start_failure(self, ended: Exit) -> str:
        """The engine's last words, where it ended with the exit code that engines keep for themselves."""
        lines = ended.stderr.strip().splitlines() or ["it does not say why"]
        return lines[-1] if ended.code == _ENGINE_ERROR else ""

    def clean(self, policy: Policy) -> None:
        """End and remove the run's containers. What goes wrong here is left to the next call."""
        with suppress(AiframeError):
            found = self._ask("ps", "--all", "--quiet", f"--filter=label={LABEL}={policy.run_id}").split()
            if found:
                self._ask("rm", "--force", *found)

    def _ask(self, *words: str) -> str:
        argv = (self._program, *words)
        said = capture(argv, cwd=Path("/"), env=self._environ, timeout_s=_CLEAN_WITHIN_S)
        return said.out.decode(errors="replace")

    def _user(self) -> tuple[str, ...]:
        """The files that a command makes must belong to whoever runs aiframe."""
        uid, gid = os.getuid(), os.getgid()
        if self._podman:
            return ("--http-proxy=false", *(("--userns=keep-id",) if uid else ()))
        return (f"--user={uid}:{gid}",)

    def _variables(self, command: Command, policy: Policy) -> tuple[str, ...]:
        ours = harmless(self._environ).keys() - PLACES
        names = sorted({*ours, *command.env, cookie(policy.run_id)} - {"HOME", "TMPDIR"})
        return ("--env=HOME=/tmp", "--env=TMPDIR=/tmp", *(f"--env={name}" for name in names))


def _limits(policy: Policy) -> tuple[str, ...]:
    size = f",size={policy.memory_bytes}" if policy.memory_bytes else ""
    memory = (f"--memory={policy.memory_bytes}",) if policy.memory_bytes else ()
    processes = (f"--pids-limit={policy.processes}",) if policy.processes else ()
    return (f"--tmpfs=/tmp:rw,exec,mode=1777{size}", *memory, *processes)
