"""Agents in containers: what one gets to see there, and how it is followed to its end, by one runner or by several.

The container is made and started apart from whoever follows it. A runner that comes after a dead one finds it by its
name, reads what it has said from the beginning, and waits for its end: the agent is not started twice.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from aiframe.app.attempts.followed import Followed, Sink
from aiframe.app.attempts.linked import agent_home
from aiframe.app.attempts.mountpoints import lay_mountpoint
from aiframe.app.attempts.outages import asked, note_engine
from aiframe.app.attempts.underway import Underway, end_underway, note_stopped, read_underway
from aiframe.app.project.lanes import FOLDER
from aiframe.app.project.site import Site, repo_path
from aiframe.app.protection.environment import chosen
from aiframe.core.errors import AiframeError, StepError, UsageError
from aiframe.core.model import Role, Run
from aiframe.core.ports import AgentRequest, Command, Exit
from aiframe.core.timing import elapsed
from aiframe.process import Limits, boot_id, now
from aiframe.sandbox import worker
from aiframe.sandbox.engine import Engine, find_engine
from aiframe.sandbox.environment import PLACES, harmless
from aiframe.sandbox.mounts import Mount
from aiframe.store.atomic import make_folder, storage_errors, write_durable
from aiframe.store.layout import Layout

SHARED = "shared"
"""The folder in that of a run which its container sees, too."""
PROMPT = "stdin"
WHOLE = ("prompt-whole.md", "diff.patch", "meanwhile.patch")
"""The files beside a prompt that it names where it is too long to hold them."""
DOCUMENTS = ("SPEC.md", "ROLES.md", "TASKS.yaml", "STATE.json", "AGENTS.md", "INTAKE_HISTORY.md", "notes")
"""What of the project an agent may read that works in a workspace of its own."""
_STEERING = (".git", "PROJECT.yaml", "AGENTS.md", "DIAGNOSE_AGENT.md", "prompts", FOLDER)
"""What an agent may only read that writes the project's documents."""
_LATE_S = 5
"""How much later than the runner the container's own clock ends it."""


def engine_of(site: Site) -> Engine:
    """The engine that has the image. Raises EngineMissing, ImageMissing, EngineAway."""
    engine = asked(site, lambda: find_engine(site.environ, site.settings.workspace.container.image))
    note_engine(site, engine)
    return engine


class Box:
    """One container of one invocation. *subject* tells what it is about, where a run asks the same agent again."""

    def __init__(self, site: Site, run: Run, request: AgentRequest, subject: str = "") -> None:
        record = read_underway(site.layout, run.run_id)
        self._engine = Engine(record.program, site.environ) if record is not None else engine_of(site)
        self._site, self._run, self._asked = site, run, request
        self._folder = Path(request.run_dir)
        self.name = _name(run, self._folder, subject)
        self.request = replace(request, run_dir=self._folder / SHARED, sandbox="danger-full-access")
        """What the adapter gets: the container is the sandbox, and what is left in that folder is seen here, too."""

    @property
    def is_there(self) -> bool:
        """Whether an earlier runner has made it."""
        return asked(self._site, lambda: worker.condition(self._engine, self.name)) is not None

    def carry(
        self, command: Command, *, run_id: str, limits: Limits, on_stdout: Sink, on_stderr: Sink, complete: Any,
        should_stop: Any, env_base: Mapping[str, str], **attended: Any,
    ) -> Exit:  # fmt: skip
        """As `supervise`, but that the container is there already where an earlier runner has made it.

        *env_base* is not for it: it gets what is allowed by name. Raises EngineAway, and StepError where it cannot be
        started, or its image lacks a program; it is ended then.
        """
        asked(self._site, lambda: self._begin(command))
        said = Followed(self._site, self._engine, self.name, run_id, on_stdout, on_stderr, attended)
        try:
            ended = said.follow(self._run, limits, complete, should_stop)
        except (AiframeError, OSError):
            worker.end(self._engine, self.name)
            raise
        drop_links(self._folder / SHARED)
        if ended.code == worker.LACKS and said.out.passed == 0:
            raise _lacks(self._site, ended.stderr, command.argv[0])
        return ended

    def _begin(self, command: Command) -> None:
        """Have it run, whatever was done for that before."""
        found = worker.condition(self._engine, self.name)
        if found is None:
            self._sweep()
            write_durable(self._folder / PROMPT, command.stdin)
            worker.create(self._engine, self._worker(command))
        if found is None or not found.started:
            worker.start(self._engine, self.name, self._run.run_id)

    def _sweep(self) -> None:
        """Remove what earlier runs of the project could not: none of them is alive, for this one has the run lock."""
        for_all = worker.names(self._engine, "", self._site.root)
        own = worker.names(self._engine, self._run.run_id, self._site.root)
        worker.remove(self._engine, [name for name in for_all if name not in own])

    def _worker(self, command: Command) -> worker.Worker:
        settings = self._site.settings.workspace.container
        left = max(1.0, self._run.timeout_s - elapsed(self._run.started, now()))
        return worker.Worker(
            name=self.name,
            run_id=self._run.run_id,
            root=self._site.root,
            task=self._run.task_id,
            image=settings.image,
            argv=command.argv,
            cwd=command.cwd,
            prompt=self._folder / PROMPT,
            seconds=math.ceil(left) + _LATE_S,
            mounts=_mounts(self._site, self._asked, self._folder / SHARED),
            env={**_variables(self._site), **command.env},
            memory_mb=settings.memory_mb,
            processes=settings.processes,
            cpus=settings.cpus,
            network=settings.network,
        )


def drop_links(folder: Path) -> None:
    """Remove what is neither a file nor a folder: a link made in the container would be followed out here."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)


def _name(run: Run, folder: Path, subject: str) -> str:
    part = "work" if folder.name == run.run_id else folder.name
    about = f"-{hashlib.sha256(subject.encode()).hexdigest()[:8]}" if subject else ""
    return f"aiframe-{run.run_id}-{part}{about}"


def _lacks(site: Site, said: str, program: str) -> StepError:
    lacking = said.strip().splitlines()[-1] if said.strip() else program
    image = site.settings.workspace.container.image
    cure = f"build one that has it: `aiframe image build` has git and the agents; {program} is what PROJECT.yaml names"
    return StepError(f"the image {image} has no {lacking}", hint=cure)


# What is in there -----------------------------------------------------------------------------------------------------


def _mounts(site: Site, request: AgentRequest, shared: Path) -> tuple[Mount, ...]:
    """The workspace, the project's documents, and what the agent needs of its own. Raises UsageError, StepError."""
    workspace, root = Path(request.workspace), site.root
    make_folder(shared)
    home = agent_home(site, request.task_id, audit=request.role is Role.AUDIT)
    if workspace == root:
        steering = [root / name for name in _STEERING]
        seen = [Mount(root, writable=True), *map(Mount, _inside(root, steering)), Mount(repo_path(site).resolve())]
    else:
        documents = _inside(root, [*(root / name for name in DOCUMENTS), *(shared.parent / name for name in WHOLE)])
        seen = [Mount(workspace, writable=request.role is not Role.AUDIT), *map(Mount, documents)]
    logins = credentials(site)
    for login in logins:
        lay_mountpoint(home, login.place.relative_to(worker.HOME), is_folder=os.path.isdir(login.path))
    return (*seen, Mount(shared, writable=True), Mount(home, writable=True, target=worker.HOME), *logins)


def _inside(root: Path, paths: list[Path]) -> list[Path]:
    """Those that are there; a link out of the project shows nothing."""
    return [path for path in paths if path.exists() and path.resolve().is_relative_to(root)]


def credentials(site: Site) -> tuple[Mount, ...]:
    """The files to log in with: one below the person's home has the same place below the agent's."""
    home, mounts = Path(site.environ.get("HOME", "/")), []
    for name in site.settings.workspace.container.files:
        path = home / name[2:] if name.startswith("~/") else Path(name)
        if not os.path.exists(path):  # which never raises: of a folder that is not ours nobody knows
            cure = "log in with that agent first, or correct `workspace: {credentials: {files: [...]}}`"
            raise UsageError(f"PROJECT.yaml: the agents' containers get {name}, which does not exist", hint=cure)
        below = path.relative_to(home) if path.is_relative_to(home) else Path(path.name)
        mounts.append(Mount(path.resolve(), target=worker.HOME / below))
    return tuple(mounts)


def _variables(site: Site) -> dict[str, str]:
    """The variables that mean the same in there and open nothing, and those that PROJECT.yaml allows by name."""
    named = chosen(site.environ, (*site.settings.env, *site.settings.workspace.container.env))
    kept = {**harmless(site.environ), **named}
    return {name: value for name, value in kept.items() if name not in PLACES | {"HOME", "TMPDIR", "USER", "LOGNAME"}}


# A runner that has died -----------------------------------------------------------------------------------------------


def left_underway(site: Site, run: Run) -> Underway | None:
    """The step of the dead *run* that can be gone on with, because a container of it is there; None for no such.

    From then on no other container of it begins. Raises StepError where the engine does not tell.
    """
    record = read_underway(site.layout, run.run_id)
    if record is None or record.boot != boot_id():
        return None
    engine = Engine(record.program, site.environ)
    if not worker.names(engine, run.run_id, site.root):
        for folder in own_folders(site.layout, run.run_id):
            with storage_errors(folder / PROMPT, "remove"):
                (folder / PROMPT).unlink(missing_ok=True)  # what a dying engine's command still makes cannot start now
        if not worker.names(engine, run.run_id, site.root):
            return None
    return record


def own_folders(layout: Layout, run_id: str) -> list[Path]:
    """The folders in which aiframe keeps what a run's agents are asked and say; what is below is theirs."""
    run = layout.run_dir(run_id)
    return [folder for folder in (run, run / "audit", run / "audit-again") if not folder.is_symlink()]


def remove_containers(site: Site, run_id: str, record: Underway | None) -> str:
    """Remove the containers of the run, of which *record* is kept, and forget it. Says what went wrong.

    One that may still be there is not forgotten: whoever stops the run, or looks after it, finds it by that.
    """
    try:
        engine = Engine(record.program, site.environ) if record is not None else engine_of(site)
        worker.remove(engine, worker.names(engine, run_id, site.root))
    except AiframeError as error:
        return f"the containers of the run are not removed: {error.message}"
    end_underway(site.layout)
    return ""


def stop_contained(layout: Layout, environ: Mapping[str, str], run_id: str) -> bool:
    """End the agents of a run that has no runner who could be asked to; whether there was one."""
    record = read_underway(layout, run_id)
    if record is None:
        return False
    note_stopped(layout, record)
    engine, found = Engine(record.program, environ), list[str]()
    with suppress(AiframeError):
        found = worker.names(engine, run_id, layout.root)
        for name in found:
            worker.end(engine, name)
    return bool(found)
