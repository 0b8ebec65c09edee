"""The container that an agent works in: made apart from its start, followed by its log, and removed by its label.

It is no child of aiframe's: whoever dies here, it goes on, and whoever comes next finds it by its name with all that it
has said. What ends it when nobody looks is its own clock. None of its processes carries the cookie of the run, or the
reaper of a dead runner would end them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import PurePath

from msgspec import Struct, field

from aiframe.core.errors import StepError
from aiframe.process import Captured, cookie, is_there, let_go_of_orphans
from aiframe.sandbox.engine import Engine, last_line, no_image
from aiframe.sandbox.limits import MIB
from aiframe.sandbox.mounts import Mount

RUN_LABEL = "aiframe.agent"
"""By this label, whose value is the run's id, the containers of its agents are found."""
PROJECT_LABEL = "aiframe.project"
"""The folder of the project: a copy of it finds none of its containers."""
HOME = PurePath("/home/agent")
PROMPT = PurePath("/run/aiframe/prompt")
LACKS = 118
"""The exit code by which a container says that its image lacks a program."""
OUT_OF_TIME = 124
"""The exit code of one that its own clock has ended."""
END_GRACE_S = 5
_KILL_GRACE_S = 10
_TRIES = 5
_PAUSE_S = 0.2
_HEARD_WITHIN_S = 1.0

_ENTRY = f"""\
for each in git timeout "$2"; do
  command -v "$each" >/dev/null 2>&1 || {{ echo "$each" >&2; exit {LACKS}; }}
done
bound=$1; shift
exec timeout -k {_KILL_GRACE_S} "$bound" "$@" <{PROMPT}"""
_ALONE = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--security-opt=label=disable", "--read-only")
_ALIVE = frozenset({"created", "configured", "initialized", "running", "paused", "stopping", "restarting", "removing"})
_NOT_STARTED = frozenset({"created", "configured", "initialized"})


class Worker(Struct, frozen=True):
    """A container to be made. It ends itself after *seconds*; *prompt* is the file that its command reads.

    *env* are the variables in there. A limit of 0 is none, an empty *network* the engine's own.
    """

    name: str
    run_id: str
    root: PurePath
    task: str
    image: str
    argv: tuple[str, ...]
    cwd: PurePath
    prompt: PurePath
    seconds: int
    mounts: tuple[Mount, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 0
    processes: int = 0
    cpus: float = 0
    network: str = ""


class Condition(Struct, frozen=True):
    """How a container is. *code* is the exit code of one that is not *alive*, as a shell tells it."""

    alive: bool
    started: bool
    code: int = 0


def create(engine: Engine, worker: Worker) -> None:
    """Make it, not started. The values of variables go by the engine's own environment, for no process list to show.

    Should the caller be killed meanwhile, the reaper ends the engine's command. Raises ImageMissing, StepError.
    """
    network = (f"--network={worker.network}",) if worker.network else ()
    words = (
        "create", f"--name={worker.name}", "--pull=never", *_labels(worker), *_ALONE, *_engine_words(engine),
        *limits(worker.memory_mb, worker.processes, worker.cpus), *network, "--tmpfs=/tmp:rw,exec,mode=1777",
        *_mounts(worker), f"--workdir={worker.cwd}", f"--env=HOME={HOME}", "--env=TMPDIR=/tmp",
        *(f"--env={name}" for name in sorted(worker.env)),
        "--entrypoint=sh", worker.image, "-c", _ENTRY, "sh", str(worker.seconds), *worker.argv,
    )  # fmt: skip
    said = engine.ask(*words, env={**worker.env, cookie(worker.run_id): "1"})
    if said.code and not engine.image_id(worker.image):
        raise no_image(worker.image, engine.name)
    _check(said, "made")


def start(engine: Engine, name: str, run_id: str) -> None:
    """Start it. Raises StepError."""
    let_go_of_orphans()  # the process by which podman looks after it
    _check(engine.ask("start", name, env={cookie(run_id): "1"}), "started")


def condition(engine: Engine, name: str) -> Condition | None:
    """How the container *name* is; None where there is none. Raises StepError where the engine does not say."""
    for _ in range(_TRIES):
        said = engine.ask("inspect", "--type=container", "--format={{json .State}}", name)
        if said.code == 0:
            break
        listed = engine.ask("ps", "--all", "--format={{.Names}}", f"--filter=name={name}")
        if listed.code == 0 and name not in listed.out.decode(errors="replace").split():
            return None
        time.sleep(_PAUSE_S)
    else:
        raise _untold(said)
    state = json.loads(said.out)
    status = str(state["Status"])
    if status == "running" and engine.is_here and not is_there(int(state["Pid"])):
        return _abandoned(engine, name, int(state["Pid"]))
    return Condition(status in _ALIVE, status not in _NOT_STARTED, int(state["ExitCode"]))


def _abandoned(engine: Engine, name: str, pid: int) -> Condition | None:
    """How a container is that has ended, of which podman has not heard yet; never, where its own process was killed."""
    time.sleep(_HEARD_WITHIN_S)
    said = engine.ask("inspect", "--type=container", "--format={{.State.Pid}}", name)
    if said.code == 0 and said.out.strip() == str(pid).encode():
        return Condition(False, True, 128 + 9)
    return condition(engine, name)


def names(engine: Engine, run_id: str, root: PurePath) -> list[str]:
    """The containers of the agents of a run, empty for all of the project *root*, whether or not they still run.

    Raises StepError where the engine does not say.
    """
    of_run = (f"--filter=label={RUN_LABEL}={run_id}",) if run_id else ()
    said = engine.ask("ps", "--all", "--format={{.Names}}", f"--filter=label={PROJECT_LABEL}={root}", *of_run)
    if said.code:
        raise _untold(said)
    return said.out.decode(errors="replace").split()


def end(engine: Engine, name: str) -> None:
    """Ask it to end, and kill it where it does not."""
    engine.ask("stop", f"--time={END_GRACE_S}", name)


def remove(engine: Engine, found: list[str]) -> None:
    """End them at once, and remove them with all that they have said. Raises StepError."""
    if not found:
        return
    engine.ask("kill", *found)  # or podman would wait for each to end by itself
    for _ in range(_TRIES):  # the engine tidies up behind one that has just ended, and is in its own way
        said = engine.ask("rm", "--force", "--volumes", *found)
        if said.code == 0 or all(condition(engine, name) is None for name in found):
            return
        time.sleep(_PAUSE_S)
    _check(said, "removed")


def log_words(engine: Engine, name: str, *, follow: bool) -> tuple[str, ...]:
    """The command that prints all that the container has said, from the beginning, and with *follow* goes on."""
    return (engine.program, "logs", *(("--follow",) if follow else ()), name)


def exit_code(code: int) -> int:
    """The exit code of a container as one of a process: negative for a signal."""
    return 128 - code if 128 < code <= 128 + 64 else code


def _labels(worker: Worker) -> tuple[str, ...]:
    told = {RUN_LABEL: worker.run_id, PROJECT_LABEL: worker.root, "aiframe.task": worker.task}
    return tuple(f"--label={name}={value}" for name, value in told.items())


def _engine_words(engine: Engine) -> tuple[str, ...]:
    """Files that an agent makes must belong to whoever runs aiframe; what it says must stay until it is removed."""
    uid, gid = os.getuid(), os.getgid()
    if engine.is_podman:
        return ("--log-driver=k8s-file", "--http-proxy=false", *(("--userns=keep-id",) if uid else ()))
    return ("--log-driver=json-file", f"--user={uid}:{gid}")


def limits(memory_mb: int, processes: int, cpus: float) -> tuple[str, ...]:
    """The words by which an engine holds a container to them; 0 is no limit."""
    memory = (f"--memory={memory_mb * MIB}",) if memory_mb else ()
    of_processes = (f"--pids-limit={processes}",) if processes else ()
    return (*memory, *of_processes, *((f"--cpus={cpus:g}",) if cpus else ()))


def _mounts(worker: Worker) -> tuple[str, ...]:
    mounts = (*worker.mounts, Mount(worker.prompt, target=PROMPT))
    return tuple(word for mount in mounts for word in ("--mount", mount.option))


def _untold(said: Captured) -> StepError:
    cure = "run `podman ps --all`, or `docker ps --all`, by hand: it may say more"
    return StepError(f"the engine does not tell which containers there are: {last_line(said)}", hint=cure)


def _check(said: Captured, done: str) -> None:
    if said.code:
        cure = "correct `workspace` in PROJECT.yaml, or the engine; `aiframe doctor` looks at both"
        raise StepError(f"the agent's container cannot be {done}: {last_line(said)}", hint=cure)
