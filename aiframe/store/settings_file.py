"""PROJECT.yaml: which agent plays which role, the limits, where checks run, and what the agent may see."""

from __future__ import annotations

import re
from collections.abc import Mapping as ReadOnly
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.budget import AMOUNTS, Budget, Limits, Scope
from aiframe.core.errors import UsageError
from aiframe.core.model import STEP_ROLES, Role, Rules
from aiframe.store.agent_settings import AgentSettings, read_agents, read_audit
from aiframe.store.atomic import read_bounded
from aiframe.store.container_settings import variable_names
from aiframe.store.gate_settings import GateSettings, read_gates
from aiframe.store.resources_file import read_capacity, read_resources
from aiframe.store.source_text import place
from aiframe.store.workspace_settings import PushSettings, WorkspaceSettings, read_push, read_workspace
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Scalar, Sequence, read_yaml

UNATTENDED = "AIFRAME_UNATTENDED"
PARALLEL = "AIFRAME_PARALLEL"
"""How many tasks `aiframe run --parallel N` works at side by side, whatever PROJECT.yaml says."""
KEYS = (
    "agent", "agents", "limits", "budget", "on_task_failure", "sandbox", "env", "gates", "workspace", "notify",
    "parallel", "resources", "push",
)  # fmt: skip
SANDBOXES = ("auto", "bubblewrap", "container", "none")
SANDBOX_KEYS = ("kind", "image", "memory_mb", "processes", "read")
LIMITS = tuple(
    name for name, kind in Rules.__annotations__.items() if kind in ("int", "float") and name != "audit_rounds"
)
SCOPES: tuple[Scope, ...] = ("project", "day", "task")
COUNTED = frozenset({"tokens", "attempts"})
"""The amounts of a budget that are whole numbers."""
MAY_BE_ZERO = frozenset({"stall_sec", "repairs", "hung_grace_sec"})
WHOLE = frozenset(name for name, kind in Rules.__annotations__.items() if kind == "int")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class SandboxSettings(Struct, frozen=True):
    """Where gates run: *kind* is one of SANDBOXES, *image* that of a container. A limit of 0 is none.

    *read* names files and folders of this machine that the commands may read, as the person wrote them.
    """

    kind: str = "auto"
    image: str = ""
    memory_mb: int = 4096
    processes: int = 1024
    read: tuple[str, ...] = ()


class ProjectSettings(Struct, frozen=True):
    """What PROJECT.yaml says, defaults filled in. *env* names further variables that children get from ours.

    *notify* are the addresses that notices go to. They may hold secrets: show none of them. *cost_limit* is the line
    and the column of the first limit on cost, both 0 where there is none.
    """

    agents: ReadOnly[Role, AgentSettings] = field(default_factory=lambda: dict.fromkeys(STEP_ROLES, AgentSettings()))
    rules: Rules = field(default_factory=Rules)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    env: tuple[str, ...] = ()
    gates: GateSettings = field(default_factory=GateSettings)
    workspace: WorkspaceSettings = field(default_factory=WorkspaceSettings)
    notify: tuple[str, ...] = ()
    push: PushSettings = field(default_factory=PushSettings)
    path: Path | None = None
    cost_limit: tuple[int, int] = (0, 0)

    @property
    def all_agents(self) -> tuple[AgentSettings, ...]:
        """Every agent that may play a part."""
        return (*self.agents.values(), *filter(None, [self.gates.audit]))


def load_settings(path: Path, environ: ReadOnly[str, str]) -> ProjectSettings:
    """The settings in the file *path*, defaults where it is missing; DEV_CHAIN_LIMIT in *environ* goes before.

    With UNATTENDED in *environ*, which a watch sets for all that it starts, the rules are those for nobody being there.

    Raises UnreadableFile, StorageError, and UsageError for a DEV_CHAIN_LIMIT that is no number.
    """
    try:
        settings = parse_settings(path, read_bounded(path))
    except FileNotFoundError:
        settings = ProjectSettings(path=path)
    if environ.get(UNATTENDED):
        settings = replace(settings, rules=replace(settings.rules, unattended=True))
    if environ.get(PARALLEL, "").isdigit():
        rules = settings.rules
        capacity = replace(rules.capacity, slots=max(1, int(environ[PARALLEL])))
        settings = replace(settings, rules=replace(rules, capacity=capacity))
    return _with_chain_limit(settings, environ.get("DEV_CHAIN_LIMIT", ""))


def _with_chain_limit(settings: ProjectSettings, value: str) -> ProjectSettings:
    if not value:
        return settings
    if not re.fullmatch("[0-9]{1,6}", value) or int(value) < 1:
        cure = "set it to 1 or more, or unset it"
        raise UsageError(f"the environment variable DEV_CHAIN_LIMIT is {value!r}, not a whole number", hint=cure)
    return replace(settings, rules=replace(settings.rules, dev_chain_limit=int(value)))


def parse_settings(path: Path, data: bytes) -> ProjectSettings:
    """The settings in the PROJECT.yaml whose bytes are *data*. Raises UnreadableFile with every mistake."""
    source = read_yaml(path, data)
    if source.root is not None and not isinstance(source.root, Mapping):
        source.complain(source.root.start, "must hold keys and values", "begin it with `agent: codex`")
    if not isinstance(source.root, Mapping):
        source.check()
        return ProjectSettings(path=path)
    top = Fields(source, source.root)
    top.only(KEYS)
    budget, cost_limit = _budget(top)
    agents = read_agents(top)
    audit, rounds = read_audit(top.inner("gates"), agents[Role.DEV])
    settings = ProjectSettings(
        agents=agents,
        rules=replace(
            _rules(top), budget=budget, audit_rounds=rounds, resources=read_resources(top), capacity=read_capacity(top)
        ),
        sandbox=_sandbox(top),
        env=variable_names(top, "env"),
        gates=replace(read_gates(top), audit=audit),
        workspace=read_workspace(top),
        notify=_notify(top),
        push=read_push(top),
        path=path,
        cost_limit=cost_limit,
    )
    source.check()
    return settings


def _rules(top: Fields) -> Rules:
    defaults = Rules()
    values: dict[str, Any] = {}
    limits = top.inner("limits")
    if limits is not None:
        limits.only(LIMITS)
        for name in LIMITS:
            zero = name in MAY_BE_ZERO
            least = 1 if name in WHOLE and not zero else 0
            values[name] = limits.number(
                name, getattr(defaults, name), whole=name in WHOLE, least=least, above=not zero and name not in WHOLE
            )
    goes_on = top.word("on_task_failure", {"stop": False, "continue": True}, False)
    return replace(defaults, continue_on_task_failure=goes_on, **values)


def _sandbox(top: Fields) -> SandboxSettings:
    """The kind alone, or a mapping."""
    default = SandboxSettings()
    words = {name: name for name in SANDBOXES}
    node = top.node.get("sandbox")
    if node is None or isinstance(node, Scalar):
        settings = replace(default, kind=top.word("sandbox", words, default.kind))
    else:
        inner = top.inner("sandbox")
        if inner is None:
            return default
        inner.only(SANDBOX_KEYS)
        settings = SandboxSettings(
            kind=inner.word("kind", words, default.kind),
            image=inner.text("image"),
            memory_mb=int(inner.number("memory_mb", default.memory_mb, whole=True)),
            processes=int(inner.number("processes", default.processes, whole=True)),
            read=inner.texts("read"),
        )
    if node is not None and settings.kind == "container" and not settings.image:
        cure = "write `sandbox: {kind: container, image: NAME}` with an image that is on this machine"
        top.complain(node, "sandbox: a container needs an image", cure)
    return settings


def _budget(top: Fields) -> tuple[Budget, tuple[int, int]]:
    """The budget, and where its first limit on cost stands."""
    scopes = top.inner("budget")
    if scopes is None:
        return Budget(), (0, 0)
    scopes.only(SCOPES)
    found: dict[str, Limits] = {}
    costs: list[int] = []
    for scope in SCOPES:
        inner = scopes.inner(scope)
        if inner is None:
            continue
        inner.only(AMOUNTS)
        found[scope] = Limits(**{name: _amount(inner, name) for name in AMOUNTS})
        cost = inner.node.get("cost_usd")
        costs += [cost.start] if cost is not None else []
    return Budget(**found), place(top.source.text, min(costs)) if costs else (0, 0)


def _amount(inner: Fields, name: str) -> Any:
    if name in COUNTED:
        return inner.number(name, None, whole=True, least=1)
    return inner.number(name, None, above=True)


def _notify(top: Fields) -> tuple[str, ...]:
    """The addresses; what is wrong with one is told by its place in the list, for it may hold a secret."""
    addresses = top.texts("notify")
    node = top.node.get("notify")
    items = node.items if isinstance(node, Sequence) else [node]
    for number, (address, item) in enumerate(zip(addresses, items, strict=False), start=1):
        if item is not None and not _ADDRESS.fullmatch(address):
            cure = "write it as the library apprise does, such as `mailto://...` or `json://localhost:8000`"
            top.complain(item, f"entry {number} of notify is no address", cure)
    return addresses
