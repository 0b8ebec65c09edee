"""The image that agents work in: built by a Containerfile, and looked at before a task relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from aiframe.agents import known_agents
from aiframe.agents.probe import describe
from aiframe.app.project.resources import template_folder
from aiframe.app.project.site import Site
from aiframe.core.errors import StepError
from aiframe.sandbox.engine import find_engine
from aiframe.store.container_settings import WORKER_IMAGE

CONTAINERFILE = "worker.Containerfile"
NEEDED = ("sh", "git", "timeout")
"""What no agent can work without there."""


class BuiltImage(Struct, frozen=True):
    """An image as it is: *engine* has it, made by *file*; *has* and *lacks* name programs of agents."""

    name: str
    engine: str
    file: Path
    has: tuple[str, ...]
    lacks: tuple[str, ...]


def build_image(
    frame: Path | None, site: Site | None, environ: Mapping[str, str], *, base: str = "", engine: str = ""
) -> BuiltImage:
    """Build the image that *site* names, or the common one, on top of *base*; what the engine says is on our terminal.

    The frame's own Containerfile goes before the packaged one. Raises EngineMissing, and StepError where it cannot be
    built or lacks what every agent needs.
    """
    name = site.settings.workspace.container.image if site is not None else WORKER_IMAGE
    file = template_folder("", frame) / CONTAINERFILE
    if not file.is_file():
        file = template_folder("") / CONTAINERFILE
    found = find_engine(environ, only=engine)
    code = found.build(file, name, base)
    if code:
        cure = f"its last lines say why; the file is {file}, and --base names another image to start from"
        raise StepError(f"{found.name} could not build {name} (exit {code})", hint=cure)
    wanted = programs_of(site)
    lacks = found.lacking(name, (*NEEDED, *wanted))
    missing = [program for program in lacks if program in NEEDED]
    if missing:
        cure = f"have {file} install it, or name another image with --base"
        raise StepError(f"the image {name} has no {' and no '.join(missing)}, and agents need it", hint=cure)
    has = tuple(program for program in wanted if program not in lacks)
    return BuiltImage(name, found.name, file, has, lacks)


def programs_of(site: Site | None) -> tuple[str, ...]:
    """The programs of the agents that *site* names; without one those of all that there are."""
    if site is None:
        return tuple(filter(None, (describe(name).program for name in known_agents())))
    chosen = [agent for first in site.settings.all_agents for agent in first.chain if agent.name in known_agents()]
    named = (agent.options.get("program") or describe(agent.name).program for agent in chosen)
    return tuple(dict.fromkeys(str(program) for program in named if program))
