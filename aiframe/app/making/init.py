"""A new project: built whole in a hidden folder beside its place, then moved there in one step."""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import shlex
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from aiframe.agents import known_agents
from aiframe.agents.probe import Probe, describe
from aiframe.app.making.init_repository import about_repository, workspace_lines
from aiframe.app.project.resources import files_below, template_folder
from aiframe.core.errors import GuardError, UsageError
from aiframe.core.model import Moment, Project, Settings
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, sync_directory, write_durable
from aiframe.store.layout import IGNORED, MAX_NAME, Layout, is_safe_name
from aiframe.store.project_store import ProjectStore
from aiframe.store.settings_file import DEFAULT_AGENT
from aiframe.store.source_text import BOM, decode_text
from aiframe.workspaces.create import ensure_repository

IDEA_LIMIT = 1024 * 1024
"""The most bytes that an idea may have."""

NURSERY_PREFIX = ".new-"
NEEDS_OPTIONS: Mapping[str, str] = {
    "command": "add the command line of your CLI, as `agent: {name: command, line: ...}`",
    "scripted": "add the file to play, as `agent: {name: scripted, file: ...}`",
}
"""What a person has to write for an agent that is nothing by itself."""

_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


class InitReport(Struct, frozen=True):
    """A project that was made: where, for which agent, the commands to go on with, and what the person should know."""

    path: Path
    agent: str
    next_commands: tuple[str, ...]
    notes: tuple[str, ...] = ()


def init_project(
    frame: Path, name: str | None, *, idea: Path | str | None = None, agent: str | None = None,
    interactive: bool = True, sandbox: str = "auto", clock: Moment, cwd: Path, environ: Mapping[str, str],
    repo: Path | None = None, base: str = "", workspace: str = "",
) -> InitReport:  # fmt: skip
    """Make a project in *frame*; where *name* is taken it gets a numeric suffix.

    *idea* is a file (Path) or the text itself; *agent* the name for PROJECT.yaml, by default one that is installed;
    *sandbox* what PROJECT.yaml says of it. *repo* is a git repository that the project is to work for, each task in a
    *workspace* (a worktree unless it says clone) that starts from *base*; nothing in it is touched yet.
    Raises GuardError inside projects/, UsageError for a name or idea that will not do, UnreadableFile, StorageError;
    nothing is left then.
    """
    _refuse_inside_projects(frame, cwd)
    lines = workspace_lines(repo, base, workspace)
    wanted = check_name(name) if name is not None else _default_name(repo, clock)
    text = _idea_text(idea)
    chosen, notes = _choose_agent(agent, environ)
    values = {"agent": chosen, "sandbox": sandbox}
    make_folder(frame / "projects")
    for path in _free_places(frame / "projects", wanted):
        nursery = _nursery(path.parent)
        try:
            template = template_folder("project", frame)
            _build(nursery, path.name, template, text, values, clock, lines, interactive=interactive)
            if _move(nursery, path):
                renamed = (f"the name {wanted} was taken",) if path.name != wanted else ()
                notes = (*renamed, *about_repository(path, environ), *notes)
                return InitReport(path, chosen, _next_commands(path, cwd, has_idea=bool(text)), notes)
        finally:
            shutil.rmtree(nursery, ignore_errors=True)
    raise UsageError(f"there are too many projects named {wanted}", hint="choose another name")


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


def _default_name(repo: Path | None, clock: Moment) -> str:
    """A name for a project that was given none: its repository's, else one of the time."""
    named = Path(os.path.abspath(repo)).name if repo is not None else ""
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
        return decode_text(path, read_bounded(path, IDEA_LIMIT))
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


# Building


def _free_places(projects: Path, wanted: str) -> Iterator[Path]:
    """Places that nobody has taken at the moment: the name itself, then with -2, -3, ..."""
    for count in range(1, 10_000):
        suffix = f"-{count}" if count > 1 else ""
        path = projects / (wanted[: MAX_NAME - len(suffix)] + suffix)
        if not os.path.lexists(path):
            yield path


def _nursery(projects: Path) -> Path:
    nursery = projects / f"{NURSERY_PREFIX}{os.urandom(6).hex()}"
    with storage_errors(nursery, "make the folder"):
        nursery.mkdir()
    return nursery


def _move(nursery: Path, path: Path) -> bool:
    """Give the finished project its name; False where somebody else was faster."""
    with storage_errors(path, "make"):
        try:
            os.rename(nursery, path)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
    sync_directory(path.parent)
    return True


def _build(
    root: Path, name: str, template: Path, idea: str, values: Mapping[str, str], clock: Moment, workspace: str, *,
    interactive: bool,
) -> None:  # fmt: skip
    """All files of the project *name*, its repository with a first commit, and its state."""
    for relative in files_below(template):
        text = _filled(template / relative, relative.as_posix(), name, idea, values)
        target = root / relative
        if target.suffix == ".j2":
            target = target.with_suffix("")
        if target.name == "PROJECT.yaml" and workspace and isinstance(text, str):
            text = text.rstrip("\n") + "\n\n" + workspace
        make_folder(target.parent)
        write_durable(target, text, 0o755 if (template / relative).stat().st_mode & stat.S_IXUSR else 0o644)
    if idea:
        write_durable(root / "idea.md", idea + "\n")
    ensure_repository(root, IGNORED)
    settings = Settings(interactive_mode=interactive)
    ProjectStore(Layout(root)).save(Project(settings=settings), clock, expect_generation=0)


def _filled(source: Path, relative: str, name: str, idea: str, values: Mapping[str, str]) -> str | bytes:
    """The content of a template file for this project."""
    data = read_bounded(source)
    if source.suffix == ".j2":
        return _rendered(source, decode_text(source, data), {"name": name, **values})
    if relative == "SPEC.md" and idea:
        return _with_idea(decode_text(source, data), idea)
    if relative == "TASKS.yaml":
        return re.sub(r'(?m)^project: ""', lambda _: f"project: {json.dumps(name)}", decode_text(source, data), count=1)
    return data


def _rendered(source: Path, text: str, values: Mapping[str, str]) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateError as error:
        place = f"{source}:{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else str(source)
        cure = f"correct it; it may use {', '.join(values)}"
        raise UsageError(f"{place}: {error}", hint=cure) from error


def _with_idea(spec: str, idea: str) -> str:
    """*spec* with the idea in a section of its own, before the first one that is there."""
    section = f"## Idea\n\n{idea}\n\n"
    first = re.search(r"(?m)^## ", spec)
    if first is None:
        return f"{spec.rstrip()}\n\n{section}".lstrip()
    return spec[: first.start()] + section + spec[first.start() :]


def _next_commands(path: Path, cwd: Path, *, has_idea: bool) -> tuple[str, ...]:
    near, here = path.resolve(), cwd.resolve()
    place = shlex.quote(str(near.relative_to(here) if near.is_relative_to(here) else near))
    commands = [] if has_idea else [f"$EDITOR {place}/SPEC.md"]
    return (
        *commands,
        f"aiframe tick --project {place}",
        f"$EDITOR {place}/INTAKE_ANSWERS.md",
        f"aiframe watch --project {place}",
    )
