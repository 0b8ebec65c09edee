"""`init --from`: the configuration of a "Task Orchestrator", taken over into PROJECT.yaml and TASKS.yaml.

What has a counterpart here is carried over; of everything else is said that it is not, and why. Nothing is dropped in
silence, and nothing of the old tool's is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping as ReadOnly
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from aiframe.agents import known_agents
from aiframe.app.making.old_fields import OldFields, plain_name
from aiframe.app.making.old_tasks import TASKS_FOLDER, OldPlan, read_old_tasks
from aiframe.core.errors import UnreadableFile, UsageError
from aiframe.core.problem import Problem
from aiframe.store.atomic import read_bounded
from aiframe.store.resources_file import MOST_SLOTS
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Node, Scalar, Sequence, Source, read_yaml

LIMIT = 1024 * 1024
"""The most bytes that the old file may have."""
KNOWN = (
    "repo_path", "repo", "repository", "main_branch", "base_branch", "doctor", "resources", "bootstrap", "max_parallel",
    "test_command", "docker", "worker", "planner",
)  # fmt: skip
"""Keys by which such a file is known."""
_UNKNOWN = "aiframe has no such setting"
_ELSEWHERE: ReadOnly[str, str] = {
    "task_branch_prefix": "branches of tasks are called aiframe/PROJECT/TASK",
    "branch_prefix": "branches of tasks are called aiframe/PROJECT/TASK",
    "orchestrator_home": "what is kept of a project lies in its own folder",
    "workspaces_dir": "workspaces lie below XDG_STATE_HOME, see docs/workspaces.md",
    "log_dir": "logs lie in logs/ of the project",
    "api_key": "keys stay in the environment: name the variable in `env` of PROJECT.yaml",
    "codex_api_key": "keys stay in the environment: name the variable in `env` of PROJECT.yaml",
    "env": "variables stay in the environment: name them in `env` of PROJECT.yaml",
    "validators": "`gates.audit` and `gates.prove_tests` of PROJECT.yaml do this in their own way",
}
_IMAGE = (
    "the image of the checks is yours to build, under the name in `sandbox.image`; that of agents: docs/containers.md"
)
_OF_DOCKER: ReadOnly[str, str] = {
    "dockerfile": _IMAGE,
    "build_context": _IMAGE,
    "cpus": "the sandbox limits memory and processes, not processors",
    "cpu_limit": "the sandbox limits memory and processes, not processors",
    "network": "checks are without a network, unless their task says `network: true`",
    "network_mode": "checks are without a network, unless their task says `network: true`",
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_MIB = {"": 2**-20, "k": 2**-10, "m": 1.0, "g": 2.0**10, "t": 2.0**20}


class OldConfig(Struct, frozen=True):
    """What an old configuration comes to. *settings* are keys of PROJECT.yaml, *comments* lines to stand above one.

    *agent* and *sandbox* are empty where it says nothing of them. *notes* say what was not taken over, and why.
    """

    name: str = ""
    repo: Path | None = None
    base: str = ""
    agent: ReadOnly[str, Any] = field(default_factory=dict)
    sandbox: ReadOnly[str, Any] = field(default_factory=dict)
    settings: ReadOnly[str, Any] = field(default_factory=dict)
    comments: ReadOnly[str, tuple[str, ...]] = field(default_factory=dict)
    plan: OldPlan = OldPlan()
    notes: tuple[str, ...] = ()


def read_old_config(path: Path, home: str) -> OldConfig:
    """What the file *path*, and the tasks in the repository that it names, come to; *home* is what ``~`` stands for.

    Raises UsageError for a missing file, UnreadableFile with every mistake and its place.
    """
    try:
        source = read_yaml(path, read_bounded(path, LIMIT, "name a configuration that you can read after --from"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="check the path after --from") from None
    root = source.root
    keys = {plain_name(key.value) for key, _ in root.pairs} if isinstance(root, Mapping) else set()
    if not isinstance(root, Mapping) or not keys & set(map(plain_name, KNOWN)):
        cure = f"name the configuration of a Task Orchestrator; it has keys such as {', '.join(KNOWN[:6])}"
        problem = Problem(path, "is no configuration of a Task Orchestrator", 1, 1, cure)
        raise UnreadableFile([*source.problems, problem])
    left: list[str] = []
    return _read(path, source, OldFields(Fields(source, root), left), left, home)


def _read(path: Path, source: Source, top: OldFields, left: list[str], home: str) -> OldConfig:
    repo = _path(path, top.text("repo_path", "repo", "repository"), home)
    base = top.text("main_branch", "base_branch", "base", "branch")
    resources, comments, renamed = _resources(source, top, left)
    settings: dict[str, Any] = {
        "setup": list(_commands(top, "bootstrap", "setup")),
        "gates": _gates(top),
        "resources": resources,
        "agents": {"PO": planner} if (planner := _one_agent(top, "planner")) else {},
        "parallel": top.count("max_parallel", "parallel", "concurrency", most=MOST_SLOTS),
        "limits": {"max_attempts": top.count("max_attempts", "max_retries", most=100)},
    }
    settings["limits"] = {name: value for name, value in settings["limits"].items() if value}
    agent, sandbox = _agent(top), _sandbox(top, left)
    tasks_folder = top.text("tasks_dir", "task_dir", "tasks_path", "tasks_folder", "task_folder") or TASKS_FOLDER
    name = top.text("name", "project", "project_name")
    for key, why in _ELSEWHERE.items():
        top.leave(why, key)
        top.node(key)
    top.leave_rest(_UNKNOWN)
    source.check()
    plan = read_old_tasks(repo, tasks_folder, renamed) if repo is not None else OldPlan()
    if base:
        left.append(f"{base} is what the work starts from; the old tool moved it too: here `target: {base}` does that")
    return OldConfig(
        name, repo, base, agent, sandbox, {key: value for key, value in settings.items() if value},
        {"resources": comments} if comments else {}, plan, (*left, *plan.notes),
    )  # fmt: skip


def _path(config: Path, text: str, home: str) -> Path | None:
    """The path that *text* names, from the folder of the old file on."""
    if not text:
        return None
    named = Path(home, text[2:]) if text.startswith("~/") and home else config.parent / text
    return Path(os.path.abspath(named))


def _commands(top: OldFields, *names: str) -> tuple[str, ...]:
    """Commands: one, a list, or a mapping with a list of them."""
    if not isinstance(top.node(*names), Mapping):
        return top.texts(*names)
    inner = top.inner(*names)
    if inner is None:
        return ()
    found = inner.texts("commands", "command", "run", "steps")
    inner.leave_rest(_UNKNOWN)
    return found


def _gates(top: OldFields) -> dict[str, Any]:
    """The command for the whole project: the doctor, and the tests where they are a command of their own."""
    minutes = _minutes(top, "doctor_timeout")
    inner = top.inner("doctor") if isinstance(top.node("doctor"), Mapping) else None
    if inner is not None:
        doctor = inner.texts("command", "commands", "cmd", "run")
        minutes = _minutes(inner, "timeout") or minutes
        inner.leave_rest(_UNKNOWN)
    else:
        doctor = top.texts("doctor")
    tests = top.texts("test_command", "test_commands", "tests")
    command = _joined([*doctor, *(test for test in tests if test not in doctor)])
    return ({"doctor": command} if command else {}) | ({"timeout_min": minutes} if minutes else {})


def _minutes(fields: OldFields, name: str) -> float:
    """A time in minutes, by whichever unit its name tells; seconds where it tells none. 0 for none."""
    minutes = fields.count(f"{name}_minutes", f"{name}_min", f"{name}_mins")
    seconds = fields.count(name, f"{name}_seconds", f"{name}_sec", f"{name}_s") or fields.count(f"{name}_ms") / 1000
    return minutes or round(seconds / 60, 2)


def _joined(commands: list[str]) -> str:
    """One command that runs all of *commands*, up to the first that fails."""
    if len(commands) < 2:
        return "".join(commands)
    if any(re.search(r"[\n#;|&]", command) for command in commands):
        return "\n".join(["set -e", *commands])
    return " && ".join(commands)


# Resources ------------------------------------------------------------------------------------------------------------


def _resources(
    source: Source, top: OldFields, left: list[str]
) -> tuple[dict[str, Any], tuple[str, ...], dict[str, str]]:
    """The resources; lines that describe them; and the new names of those whose old name will not do."""
    found: dict[str, Any] = {}
    comments, renamed = list[str](), dict[str, str]()
    for old, place, described in _listed(source, top, left):
        name = _safe_name(old, found)
        if name in found or (name != old and not name):
            source.complain(place.start, f"the resource {old[:80]!r} stands here again", "give each a name of its own")
            continue
        if name != old:
            renamed[old] = name
            left.append(f"the resource {old!r} is called {name} here: names have letters, digits, _ and -")
        patterns = _patterns(source, described)
        slots = (
            described.count("slots", "capacity", "limit", most=MOST_SLOTS) if isinstance(described, OldFields) else 0
        )
        if patterns or slots:
            found[name] = ({"paths": patterns} if patterns else {}) | {"slots": slots} if slots else patterns
        else:
            found[name] = {"slots": 1}
            left.append(f"the resource {name} names no files: one task at a time holds it, to read as well as to write")
        text = described.text("description", "desc") if isinstance(described, OldFields) else ""
        comments += [f"{name}: {' '.join(text.split())}"] if text else []
        if isinstance(described, OldFields):
            described.leave_rest(_UNKNOWN)
    return found, tuple(comments), renamed


def _listed(source: Source, top: OldFields, left: list[str]) -> list[tuple[str, Node, OldFields | Node]]:
    """Each resource with its name, its place, and what describes it: a list of mappings, or names and their files."""
    node = top.node("resources")
    found: list[tuple[str, Node, OldFields | Node]] = []
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            name = f"resources.{key.value}"
            found.append((key.value, key, _of(source, value, name, left) if isinstance(value, Mapping) else value))
        return found
    items = node.items if isinstance(node, Sequence) else (node,) if node is not None else ()
    for item in items:
        named = OldFields(Fields(source, item), left).text("key", "name", "id") if isinstance(item, Mapping) else ""
        if isinstance(item, Scalar):
            found.append((item.value, item, Sequence((), item.start, item.end)))
        elif isinstance(item, Mapping) and named:
            found.append((named, item, _of(source, item, f"resources.{named}", left, read=("key", "name", "id"))))
        else:
            source.complain(item.start, "a resource needs a key", "write `- key: api` and `paths: [src/api/**]`")
    return found


def _of(source: Source, node: Mapping, name: str, left: list[str], read: tuple[str, ...] = ()) -> OldFields:
    fields = OldFields(Fields(source, node, name), left)
    for key in read:
        fields.node(key)
    return fields


def _patterns(source: Source, described: OldFields | Node) -> list[str]:
    if isinstance(described, OldFields):
        node = described.node("paths", "globs", "files", "path", "patterns")
    else:
        node = described
    items = node.items if isinstance(node, Sequence) else (node,) if node is not None else ()
    found = []
    for item in items:
        pattern = item.value.strip().removeprefix("./") if isinstance(item, Scalar) else ""
        if not pattern or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
            cure = "name files below the top folder, such as src/api/**"
            source.complain(item.start, f"{pattern[:80]!r} names no file of the repository", cure)
        else:
            found.append(pattern)
    return found


def _safe_name(old: str, taken: ReadOnly[str, Any]) -> str:
    """*old*, if a resource may be called so; else the nearest name that is not *taken*."""
    if _NAME.fullmatch(old):
        return old
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", old).strip("-")[:60]
    safe = safe if _NAME.fullmatch(safe) else f"r-{safe}"
    return next(name for name in (safe, *(f"{safe}-{count}" for count in range(2, 1000))) if name not in taken)


# Agents and containers ------------------------------------------------------------------------------------------------


def _agent(top: OldFields) -> dict[str, Any]:
    """The agent for all roles, as PROJECT.yaml writes it; with one for PO where the old tool planned by another."""
    worker = _one_agent(top, "worker") if isinstance(top.node("worker"), Mapping) else {}
    model = top.text("model", "worker_model") if not worker.get("model") else ""
    agent = {**worker, **({"model": model} if model else {})}
    name = top.text("agent", "provider")
    if name and "name" not in agent:
        agent = {"name": _known(name), **agent}
    return agent


def _one_agent(top: OldFields, key: str) -> dict[str, str]:
    inner = top.inner(key)
    if inner is None:
        return {}
    name = inner.text("provider", "agent", "kind", "sdk", "type", "name")
    found = {
        "name": _known(name) if name else "",
        "model": inner.text("model"),
        "effort": inner.text("effort", "reasoning_effort", "model_reasoning_effort"),
    }
    inner.leave_rest(_UNKNOWN)
    return {key: value for key, value in found.items() if value}


def _known(name: str) -> str:
    """The agent that *name* means: ``codex-sdk`` is codex. Empty for none that there is."""
    return next((known for known in known_agents() if known in name.lower()), "")


def _sandbox(top: OldFields, left: list[str]) -> dict[str, Any]:
    """Where checks run: in the old tool's image, with its limits."""
    docker = top.inner("docker", "container")
    if docker is None:
        return {}
    image = docker.text("image", "image_name", "tag")
    memory, processes = docker.text("memory", "memory_limit", "mem", "mem_limit"), docker.count("pids_limit", "pids")
    for key, why in _OF_DOCKER.items():
        docker.leave(why, key)
        docker.node(key)
    docker.leave_rest(_UNKNOWN)
    if not image:
        left.append("not taken over: docker, because it names no image")
        return {}
    left.append(f"checks run in the image {image}, which has to be on this machine already (`sandbox` in PROJECT.yaml)")
    found: dict[str, Any] = {"kind": "container", "image": image}
    size = _SIZE.fullmatch(memory.strip()) if memory else None
    if size:
        unit = size[2].lower() or ("m" if float(size[1]) < 2**20 else "")
        found["memory_mb"] = max(1, int(float(size[1]) * _MIB[unit]))
    elif memory:
        left.append(f"not taken over: docker.memory, because {memory[:40]!r} is no size such as 4g")
    return found | ({"processes": processes} if processes else {})
