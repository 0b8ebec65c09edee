"""A new project: from what a person gave, by name, idea, repository or the configuration of another tool."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from aiframe.agents import known_agents
from aiframe.agents.probe import Probe, describe
from aiframe.app.making.init_repository import about_repository, workspace_of_repository
from aiframe.app.making.new_project import Content, build, free_places, move, nursery_in
from aiframe.app.making.old_config import OldConfig, read_old_config
from aiframe.app.project.resources import template_folder
from aiframe.core.errors import GuardError, UsageError
from aiframe.core.model import Moment
from aiframe.store.agent_settings import DEFAULT_AGENT
from aiframe.store.atomic import make_folder, read_bounded
from aiframe.store.layout import MAX_NAME, is_safe_name
from aiframe.store.source_text import BOM, decode_text

IDEA_LIMIT = 1024 * 1024
"""The most bytes that an idea may have."""

NEEDS_OPTIONS: Mapping[str, str] = {
    "command": "add the command line of your CLI, as `agent: {name: command, line: ...}`",
    "scripted": "add the file to play, as `agent: {name: scripted, file: ...}`",
}
"""What a person has to write for an agent that is nothing by itself."""


class InitReport(Struct, frozen=True):
    """A project that was made: where, for which agent, the commands to go on with, and what the person should know."""

    path: Path
    agent: str
    next_commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def init_project(
    frame: Path, name: str | None, *, idea: Path | str | None = None, agent: str | None = None,
    interactive: bool = True, sandbox: str = "auto", clock: Moment, cwd: Path, environ: Mapping[str, str],
    repo: Path | None = None, base: str = "", create_base: bool = False, workspace: str = "", old: Path | None = None,
) -> InitReport:  # fmt: skip
    """Make a project in *frame*; where *name* is taken it gets a numeric suffix.

    *idea* is a file (Path) or the text itself; *agent* the name for PROJECT.yaml, by default one that is installed;
    *sandbox* what PROJECT.yaml says of it. *repo* is a git repository that the project is to work for, each task in a
    *workspace* (a worktree unless it says clone) that starts from *base*; nothing in it is touched yet, but that
    *create_base* makes the base where it is not there. *old* is a configuration of a Task Orchestrator, from which all
    that is not given here is taken.
    Raises GuardError inside projects/, UsageError for a name or idea that will not do, UnreadableFile, StorageError;
    nothing is left then.
    """
    _refuse_inside_projects(frame, cwd)
    found = read_old_config(old, environ.get("HOME", "")) if old is not None else OldConfig()
    repo = repo or found.repo
    wanted = check_name(name) if name is not None else _default_name(found.name, repo, clock)
    text = _idea_text(idea)
    chosen, notes = _choose_agent(agent or found.agent.get("name"), environ)
    template = template_folder("project", frame)
    where, made = workspace_of_repository(repo, base or found.base, workspace, environ, create=create_base)
    content = Content(
        template, _values(chosen, sandbox, found), text, _settings(found, where), found.comments, found.plan.text,
        interactive,
    )  # fmt: skip
    make_folder(frame / "projects")
    for path in free_places(frame / "projects", wanted):
        with nursery_in(path.parent) as nursery:
            build(nursery, path.name, content, clock)
            if move(nursery, path):
                renamed = f"the name {wanted} was taken" if path.name != wanted else ""
                told = (renamed, made, *found.notes, *about_repository(path, environ), *notes)
                return InitReport(path, chosen, _next_commands(path, cwd, content), tuple(filter(None, told)))
    raise UsageError(f"there are too many projects named {wanted}", hint="choose another name")


def _values(agent: str, sandbox: str, old: OldConfig) -> dict[str, str]:
    """What PROJECT.yaml says of the agent and of the sandbox, each in one line."""
    as_before = not old.agent.get("name") or old.agent["name"] == agent
    its_own = {"name": agent, **old.agent} if old.agent and as_before else agent
    return {
        "agent": its_own if isinstance(its_own, str) else json.dumps(its_own),
        "sandbox": json.dumps(old.sandbox) if old.sandbox else sandbox,
    }


def _settings(old: OldConfig, workspace: Mapping[str, Any]) -> dict[str, Any]:
    """The further keys of PROJECT.yaml."""
    rest = {key: value for key, value in old.settings.items() if key != "setup"}
    setup = {"setup": old.settings["setup"]} if "setup" in old.settings else {}
    return ({"workspace": {**workspace, **setup}} if workspace or setup else {}) | rest


# What a person gave


def check_name(name: str) -> str:
    """*name*, if a project may be called so. Raises UsageError with a name that would do."""
    if "template" in name.casefold():
        message = f"the name {name!r} contains `template`: aiframe refuses to work in such folders"
        raise UsageError(message, hint=_suggestion(re.sub("template", "", name, flags=re.IGNORECASE)))
    if is_safe_name(name):
        return name
    rule = f"at most {MAX_NAME} letters, digits and . _ -, and no . or - at the beginning"
    message = f"{name!r} cannot be a project's name, which has {rule}"
    raise UsageError(message, hint=_suggestion(name))


def _default_name(old: str, repo: Path | None, clock: Moment) -> str:
    """A name for a project that was given none: the *old* one, its repository's, else one of the time."""
    for named in (old, Path(os.path.abspath(repo)).name if repo is not None else ""):
        if is_safe_name(named) and "template" not in named.casefold():
            return named
    return time.strftime("project-%Y%m%d-%H%M%S", time.localtime(clock.wall))


def _suggestion(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name.strip()).strip(".-_")[:MAX_NAME].rstrip(".-_")
    if not is_safe_name(safe) or "template" in safe.casefold():
        safe = "my-project"
    return f"try `aiframe init {safe}`"


def _refuse_inside_projects(frame: Path, cwd: Path) -> None:
    projects = (frame / "projects").resolve()
    if cwd.resolve().is_relative_to(projects):
        cure = f"run it from the frame: `cd {shlex.quote(str(frame))}`"
        raise GuardError("a project cannot be made from inside projects/", hint=cure)


def _idea_text(idea: Path | str | None) -> str:
    """The idea with plain line ends, or "" where none was given."""
    if idea is None:
        return ""
    if isinstance(idea, str):
        source, text = "the idea", _checked_text(idea)
    else:
        source, text = str(idea), _text_of_file(idea)
    text = text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise UsageError(f"{source} is empty", hint="write a few sentences on what you want")
    return text


def _text_of_file(path: Path) -> str:
    try:
        return decode_text(path, read_bounded(path, IDEA_LIMIT, "name a text file that you can read after --idea"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="check the path after --idea") from None


def _checked_text(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > IDEA_LIMIT:
        raise UsageError(f"the idea has {len(data)} bytes; at most {IDEA_LIMIT} are read", hint="shorten it")
    return decode_text(Path("idea"), data)


def _choose_agent(agent: str | None, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The agent's name, by default the first whose program is installed, and what the person should know about it."""
    if agent is not None:
        if agent not in known_agents():
            close = difflib.get_close_matches(agent, known_agents(), 1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"there is no agent {agent!r}", hint=f"{meant}known agents: {', '.join(known_agents())}")
        return agent, _about(agent, environ)
    others = (name for name in known_agents() if name != DEFAULT_AGENT)
    found = (name for name in (DEFAULT_AGENT, *others) if _is_installed(describe(name), environ))
    chosen = next(found, DEFAULT_AGENT)
    return chosen, _about(chosen, environ)


def _is_installed(probe: Probe, environ: Mapping[str, str]) -> bool:
    return bool(probe.program) and shutil.which(probe.program, path=environ.get("PATH", os.defpath)) is not None


def _about(agent: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    probe = describe(agent)
    if not probe.program:
        return () if agent not in NEEDS_OPTIONS else (f"PROJECT.yaml: {NEEDS_OPTIONS[agent]}",)
    if _is_installed(probe, environ):
        return ()
    return (
        f"the agent {agent} is not installed here; to get it: {probe.how_to_install}; then: {probe.how_to_log_in}",
        "to see a whole run without any agent: `aiframe demo`",
    )


def _next_commands(path: Path, cwd: Path, content: Content) -> tuple[str, ...]:
    near, here = path.resolve(), cwd.resolve()
    place = shlex.quote(str(near.relative_to(here) if near.is_relative_to(here) else near))
    if content.plan:
        return (f"aiframe run --dry-run --project {place}", f"aiframe run --project {place}")
    commands = [] if content.idea else [f"$EDITOR {place}/SPEC.md"]
    if content.interactive:
        commands += [f"aiframe tick --project {place}", f"$EDITOR {place}/INTAKE_ANSWERS.md"]
    return (*commands, f"aiframe watch --project {place}")
