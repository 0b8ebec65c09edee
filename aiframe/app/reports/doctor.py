"""Looks whether everything that aiframe needs is there and works, by really starting it; each fault with its cure."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aiframe.app.making.frame import all_projects
from aiframe.app.project.site import open_site
from aiframe.app.reports.agent_checks import agents_in_use, check_agents, check_environment, is_contained
from aiframe.app.reports.machine_checks import (
    PATIENCE_S,
    Finding,
    check_clock,
    check_lock,
    check_sandbox,
    check_space,
    check_supervision,
    check_text,
    check_watcher,
    path_of,
    scratch,
)
from aiframe.app.reports.notifier import INSTALL, check, library
from aiframe.app.reports.workspace_checks import check_workspace
from aiframe.core.errors import AiframeError
from aiframe.process import capture
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.create import ensure_repository

__all__ = ["Finding", "examine"]

BUDGET_S = 4.5
"""How long all checks together may take before the rest is left out."""

_TOOLS = {"entr": "event watcher", "fswatch": "event watcher", "tmux": "to keep a terminal"}


def examine(frame: Path | None, project: Path | None, environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order in which one would mend them. Takes a few seconds at most and never raises.

    Without *frame* and *project* the disk of the temporary folder is examined.
    """
    deadline = time.monotonic() + BUDGET_S
    place = _place(frame, project)
    projects = _projects(frame)
    checks: dict[str, Callable[[Path], list[Finding]]] = {
        "python": lambda _: [_python()],
        "git": lambda folder: [_git(folder, environ)],
        "frame": lambda _: [_frame(frame, projects)],
        "project": lambda _: [_project(project, environ)] if project else [],
        "workspace": lambda _: check_workspace(open_site(project, environ)) if project else [],
        "environment": lambda _: check_environment(project, environ) if project else [],
        "agents": lambda folder: check_agents(
            folder, agents_in_use(project, environ), environ, is_contained(project, environ)
        ),
        "supervision": lambda folder: [check_supervision(folder, environ, PATIENCE_S)],
        "run lock": lambda folder: [check_lock(folder)],
        "sandbox": lambda folder: [_sandbox(folder, project, environ)],
        "file watcher": lambda folder: [check_watcher(folder, len(projects))],
        "notify": lambda _: _notify(project, environ),
        "disk": lambda folder: [check_space(folder)],
        "clock": lambda folder: [check_clock(folder)],
        "locale": lambda _: [check_text(environ)],
        "optional tools": lambda _: [_tools(environ)],
    }
    findings: list[Finding] = []
    with _workshop(place, findings) as folder:
        for name, check in checks.items():
            findings += _carried_out(name, check, folder, deadline)
    return findings


@contextmanager
def _workshop(place: Path, findings: list[Finding]) -> Iterator[Path]:
    """A folder in *place* for the checks; where none can be made, that is a finding, and they work elsewhere."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch(place))
        except AiframeError as error:
            findings.append(Finding("projects folder", False, error.message, error.hint))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        yield folder


def _carried_out(name: str, check: Callable[[Path], list[Finding]], workshop: Path, deadline: float) -> list[Finding]:
    """What *check* finds; a check that fails is a finding itself."""
    if time.monotonic() > deadline:
        return [Finding(name, None, "not looked at: the checks before it took too long", "run `aiframe doctor` again")]
    try:
        with scratch(workshop) as folder:
            return check(folder)
    except AiframeError as error:
        return [Finding(name, False, error.message, error.hint)]
    except Exception as error:  # a doctor that falls ill helps nobody
        return [Finding(name, False, f"{type(error).__name__}: {error}", "tell the makers of aiframe, with this line")]


def _place(frame: Path | None, project: Path | None) -> Path:
    """The folder to try things out in: on the projects' disk, and where no agent sees it."""
    try:
        candidates = [Layout(project).control_dir] if project else []
    except AiframeError:  # told by the project's own check
        candidates = []
    if frame:
        candidates.append(frame / "projects")
    return next((folder for folder in candidates if folder.is_dir()), Path(tempfile.gettempdir()))


def _projects(frame: Path | None) -> list[Path]:
    try:
        return all_projects(frame) if frame else []
    except AiframeError:
        return []


# aiframe's own


def _python() -> Finding:
    import yaml

    detail = f"{platform.python_version()} ({sys.executable})"
    if not yaml.__with_libyaml__:
        return Finding(
            "python", None, f"{detail}; PyYAML without libyaml reads slowly", "pip install --force-reinstall pyyaml"
        )
    return Finding("python", True, detail)


def _git(folder: Path, environ: Mapping[str, str]) -> Finding:
    """Makes a repository with a commit, the way `init` does."""
    cure = "install git 2.28 or newer (Debian, Ubuntu: apt-get install git; macOS: xcode-select --install)"
    if shutil.which("git", path=path_of(environ)) is None:
        return Finding("git", False, "was not found on PATH", cure)
    said = capture(["git", "--version"], cwd=folder, env=environ, timeout_s=PATIENCE_S)
    version = said.out.decode(errors="replace").strip().removeprefix("git version ")
    if said.code:
        return Finding("git", False, f"`git --version` ended with {said.code}", cure)
    (folder / "file").write_text("x\n")
    repository = ensure_repository(folder, IGNORED)
    author = repository.identity()
    return Finding("git", True, f"{version}; a commit works, in the name of {author.name} <{author.email}>")


def _frame(frame: Path | None, projects: list[Path]) -> Finding:
    if frame is None:
        cure = "lay one with `aiframe frame DIR`, or go into one; --frame and AIFRAME_FRAME name one too"
        return Finding("frame", None, "none here", cure)
    count = "1 project" if len(projects) == 1 else f"{len(projects)} projects"
    return Finding("frame", True, f"{frame}, {count}")


def _project(root: Path, environ: Mapping[str, str]) -> Finding:
    site = open_site(root, environ)
    loaded = site.store.load()
    tasks = load_tasks(Layout(root).tasks_yaml).tasks
    return Finding("project", True, f"{root}: {loaded.project.state}, {len(tasks)} tasks, files readable")


# Programs


def _sandbox(folder: Path, project: Path | None, environ: Mapping[str, str]) -> Finding:
    """Starts it: the project's own, or the one that a new project would get."""
    try:
        site = open_site(project, environ) if project else None
    except AiframeError:  # told by the project's own check
        site = None
    return check_sandbox(folder, site, environ)


def _notify(project: Path | None, environ: Mapping[str, str]) -> list[Finding]:
    """Whether notices can be sent. Nothing is: that is what `aiframe notify` is for. No address is shown."""
    try:
        addresses = open_site(project, environ).settings.notify if project else ()
    except AiframeError:  # told by the project's own check
        return []
    if not addresses:
        return []
    if library() is None:
        return [Finding("notify", False, "PROJECT.yaml names addresses, but the library apprise is missing", INSTALL)]
    checked = check(addresses, environ)
    bad = [sent for sent in checked if sent.failure]
    cure = "correct notify in PROJECT.yaml, or set the variable that it names; `aiframe notify` sends a test"
    if not bad:
        return [Finding("notify", True, f"{', '.join(sent.place for sent in checked)}; `aiframe notify` sends a test")]
    return [Finding("notify", False, f"{sent.place}: {sent.failure}", cure) for sent in bad]


def _tools(environ: Mapping[str, str]) -> Finding:
    found = [name for name in _TOOLS if shutil.which(name, path=path_of(environ))]
    missing = [f"{name} ({use})" for name, use in _TOOLS.items() if name not in found]
    told = [f"found {', '.join(found)}"] if found else []
    told += [f"not there: {', '.join(missing)}"] if missing else []
    return Finding("optional tools", True, "; ".join(told) + "; `aiframe watch` needs none of them")
